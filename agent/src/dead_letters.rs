//! `sluice dead-letters`: what targets refused, listed, applied again, dropped.
//!
//! Reads the same files as `sluice run`, of which it needs the sinks alone. Row values are printed
//! only for those who ask for them; keys are what a row is known by and always are.

use std::process::ExitCode;

use serde::Serialize;
use serde_json::Value as Json;
use sluice_agent_api::config::SinkSystem;
use sluice_core::Error;
use sluice_postgres::dead_letters::{DeadLetters, Filter, Letter, Retried};

use crate::{
    FAILED,
    arguments::{DeadLettersAction, LettersArguments, ListArguments, Output},
    connectors,
    file::{Loaded, Pipeline},
};

/// How many letters are looked up at once.
const PAGE: i64 = 200;

/// A letter and the sink that refused it.
#[derive(Debug, Serialize)]
struct Listed<'a> {
    sink: &'a str,
    #[serde(flatten)]
    letter: Letter,
}

/// What became of a sink's letters.
#[derive(Debug, Default)]
struct Tally {
    applied: u64,
    gone: u64,
    kept: u64,
}

/// Which letters an action is about.
pub(crate) fn selection(action: &DeadLettersAction) -> &LettersArguments {
    match action {
        DeadLettersAction::List(list) => &list.letters,
        DeadLettersAction::Retry(letters) => letters,
        DeadLettersAction::Drop(drop) => &drop.letters,
    }
}

/// The sinks that are meant, or what is wrong with the way they are named.
pub(crate) fn sinks(
    loaded: Loaded,
    selection: &LettersArguments,
) -> Result<Vec<Pipeline>, Vec<String>> {
    let keeps =
        |pipeline: &Pipeline| matches!(pipeline.config.sink.system, SinkSystem::Postgres(_));
    let mut sinks = loaded.pipelines;
    sinks.retain(keeps);
    if let Some(name) = &selection.sink {
        sinks.retain(|pipeline| pipeline.config.sink.name == *name);
        if sinks.is_empty() {
            return Err(vec![format!(
                "no ReplicaSink {name} that keeps dead letters in the files"
            )]);
        }
    }
    if sinks.is_empty() {
        return Err(vec![
            "no ReplicaSink that keeps dead letters in the files".into(),
        ]);
    }
    if sinks.len() > 1 && !selection.ids.is_empty() {
        let problem = "each sink numbers its letters: say with --sink whose are meant by --id";
        return Err(vec![problem.into()]);
    }
    Ok(sinks)
}

/// Does what is asked for, sink by sink.
pub(crate) async fn dead_letters(
    sinks: Vec<Pipeline>,
    action: &DeadLettersAction,
) -> anyhow::Result<ExitCode> {
    let selection = selection(action);
    let filter = Filter {
        table: selection.table.clone(),
        ids: selection.ids.clone(),
    };
    let mut failed = false;
    let mut listed = Vec::new();
    for pipeline in &sinks {
        let sink = pipeline.config.sink.name.as_str();
        let outcome = match connectors::dead_letters(&pipeline.config, &pipeline.secrets).await {
            Err(error) => Err(error),
            Ok(None) => Ok(true),
            Ok(Some(mut letters)) => match action {
                DeadLettersAction::List(list) => {
                    show(sink, &letters, &filter, list, &mut listed).await
                }
                DeadLettersAction::Retry(_) => retry(sink, &mut letters, &filter).await,
                DeadLettersAction::Drop(_) => letters.drop(&filter).await.map(|count| {
                    let stay = match &pipeline.config.sink.dead_letter_topic {
                        Some(topic) => format!("; what topic {topic} holds of them stays there"),
                        None => String::new(),
                    };
                    println!("{sink}: {} dropped{stay}", letters_counted(count));
                    true
                }),
            },
        };
        let succeeded = outcome.unwrap_or_else(|error| {
            eprintln!("error: {sink}: {}", with_hint(error.report(), &error));
            false
        });
        failed |= !succeeded;
    }
    if let DeadLettersAction::List(ListArguments {
        output: Output::Json,
        ..
    }) = action
    {
        println!("{}", serde_json::to_string_pretty(&listed)?);
    }
    Ok(if failed {
        ExitCode::from(FAILED)
    } else {
        ExitCode::SUCCESS
    })
}

/// Lists a sink's letters; those of all sinks are printed as one where a machine reads them.
async fn show<'a>(
    sink: &'a str,
    letters: &DeadLetters,
    filter: &Filter,
    arguments: &ListArguments,
    listed: &mut Vec<Listed<'a>>,
) -> Result<bool, Error> {
    let found = letters
        .list(filter, 0, arguments.limit, arguments.values)
        .await?;
    if arguments.output == Output::Json {
        listed.extend(found.into_iter().map(|letter| Listed { sink, letter }));
        return Ok(true);
    }
    let count = letters.count(filter).await?;
    println!("{sink}: {}", letters_counted(count));
    print!("{}", table(&found));
    let more = count.saturating_sub(found.len() as u64);
    if more > 0 {
        println!("  and {more} more (--limit)");
    }
    Ok(true)
}

/// Applies a sink's letters again; answers whether none is left of those that were meant.
async fn retry(sink: &str, letters: &mut DeadLetters, filter: &Filter) -> Result<bool, Error> {
    let mut tally = Tally::default();
    let outcome = retry_each(letters, filter, &mut tally).await;
    let Tally {
        applied,
        gone,
        kept,
    } = tally;
    println!("{sink}: {applied} applied, {kept} refused again, {gone} gone meanwhile");
    outcome.map(|()| kept == 0)
}

async fn retry_each(
    letters: &mut DeadLetters,
    filter: &Filter,
    tally: &mut Tally,
) -> Result<(), Error> {
    let mut after = 0;
    loop {
        let page = letters.list(filter, after, PAGE, false).await?;
        let Some(last) = page.last() else {
            return Ok(());
        };
        after = last.id;
        for letter in &page {
            match letters.retry(letter.id).await? {
                Retried::Applied => tally.applied += 1,
                Retried::Gone => tally.gone += 1,
                Retried::Refused(error) => {
                    tally.kept += 1;
                    let reason = with_hint(error.message().to_owned(), &error);
                    println!("  {} {} stays: {reason}", letter.id, name(letter));
                }
            }
        }
    }
}

fn letters_counted(count: u64) -> String {
    match count {
        1 => "1 dead letter".to_owned(),
        count => format!("{count} dead letters"),
    }
}

/// A row's name: table and key.
fn name(letter: &Letter) -> String {
    match (&letter.key, &letter.origin) {
        (Some(key), _) => format!("{} {key}", letter.table),
        // What has no key is known by where it lies.
        (None, Some(origin)) => format!("{} {origin}", letter.table).trim_start().to_owned(),
        (None, None) => letter.table.clone(),
    }
}

fn with_hint(text: String, error: &Error) -> String {
    match error.hint() {
        Some(hint) => format!("{text} ({hint})"),
        None => text,
    }
}

/// The letters for people: a line each, the values below where they are wanted.
fn table(letters: &[Letter]) -> String {
    let width = |field: fn(&Letter) -> String| {
        let lengths = letters.iter().map(|letter| field(letter).chars().count());
        lengths.max().unwrap_or(0)
    };
    let id = |letter: &Letter| letter.id.to_string();
    let (ids, names) = (width(id), width(name).min(60));
    let mut text = String::new();
    for letter in letters {
        let Letter {
            at,
            operation,
            reason,
            ..
        } = letter;
        let mark = if letter.retryable {
            ""
        } else {
            " (for reading only)"
        };
        let (id, name) = (letter.id, name(letter));
        let line = format!("  {id:>ids$}  {at}  {operation:<6}  {name:<names$}  {reason}{mark}\n");
        text.push_str(&line);
        let Some(values) = &letter.values else {
            continue;
        };
        text.extend(["      ", &values.message, "\n"]);
        let images = [("before", &values.before), ("after", &values.after)];
        let images = images.map(|(what, row)| (what, row.as_ref().map(Json::to_string)));
        let record = [("key", &values.record_key), ("value", &values.record_value)];
        let record = record.map(|(what, bytes)| (what, bytes.clone()));
        for (what, found) in images.into_iter().chain(record) {
            if let Some(found) = found {
                let line = format!("      {what:<6} {found}\n");
                text.push_str(&line);
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use sluice_postgres::dead_letters::Values;

    use super::*;

    #[test]
    fn values_are_shown_to_those_who_ask() {
        let letter = |values| Letter {
            id: 7,
            at: "2026-11-21T19:00:00.000Z".into(),
            table: "shop.t".into(),
            operation: "insert".into(),
            position: "binlog.000001:7".into(),
            reason: "constraint t_v_check".into(),
            sqlstate: "23514".into(),
            origin: None,
            retryable: true,
            key: Some(json!({"id": 2})),
            values,
        };
        let line =
            "  7  2026-11-21T19:00:00.000Z  insert  shop.t {\"id\":2}  constraint t_v_check\n";
        assert_eq!(table(&[letter(None)]), line);
        let values = Values {
            message: "Failing row contains (2, 100)".into(),
            before: None,
            after: Some(json!({"v": 100})),
            record_key: None,
            record_value: None,
        };
        let text = table(&[letter(Some(values))]);
        let below = "      Failing row contains (2, 100)\n      after  {\"v\":100}\n";
        assert_eq!(text, format!("{line}{below}"));
    }
}
