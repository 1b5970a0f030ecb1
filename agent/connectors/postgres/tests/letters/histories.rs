//! Random histories: whatever is refused on the way, in the end retries give the source's rows, and
//! a row without a letter is the source's at any time.

use std::{collections::BTreeMap, sync::Arc};

use sluice_agent_api::config::Unrepresentable;

use super::*;

/// What PostgreSQL can't hold at any time.
const IMPOSSIBLE: &str = "n\0l";

type Model = BTreeMap<i64, [String; 2]>;

/// How the source logs rows.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Images {
    Full,
    Minimal,
}

struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % limit
    }

    fn text(&mut self) -> String {
        let texts = ["bad", "bad", "bad", IMPOSSIBLE, "one", "two", "three"];
        texts[self.below(texts.len() as u64) as usize].to_owned()
    }
}

fn full(id: i64, values: &[String; 2]) -> Row {
    row(id, &[&values[0], &values[1]])
}

fn partial(id: i64, values: &[String; 2], logged: [bool; 2]) -> Row {
    let shown = |at: usize| if logged[at] { values[at].as_str() } else { "~" };
    row(id, &[shown(0), shown(1)])
}

fn step(
    random: &mut Random,
    images: Images,
    table: &Arc<TableSchema>,
    model: &mut Model,
) -> sluice_core::ChangeEvent {
    let keys: Vec<_> = model.keys().copied().collect();
    let free = (0..8)
        .find(|id| !model.contains_key(&((id + 3) % 8)))
        .map(|id| (id + 3) % 8);
    let pick = random.below(10);
    if let Some(id) = free.filter(|_| keys.is_empty() || pick < 3) {
        let values = [random.text(), random.text()];
        model.insert(id, values.clone());
        return insert(table, full(id, &values));
    }
    let id = keys[random.below(keys.len() as u64) as usize];
    let old = model.remove(&id).expect("it is there");
    let before = match images {
        Images::Full => full(id, &old),
        Images::Minimal => key_only(id),
    };
    if pick < 5 {
        return delete(table, before);
    }
    let mut new = old.clone();
    let which = random.below(3);
    if which != 0 {
        new[0] = random.text();
    }
    if which != 1 {
        new[1] = random.text();
    }
    // Without the other columns a row that moved can't be put back once its old key is taken.
    let moves = pick == 9 && images == Images::Full;
    let to = free.filter(|_| moves).unwrap_or(id);
    model.insert(to, new.clone());
    let after = match images {
        Images::Full => full(to, &new),
        Images::Minimal => partial(to, &new, [old[0] != new[0], old[1] != new[1]]),
    };
    update(table, before, after)
}

fn rows_of(model: &Model) -> Vec<String> {
    let line = |(id, values): (&i64, &[String; 2])| format!("{id}|{}|{}", values[0], values[1]);
    model.iter().map(line).collect()
}

async fn history(seed: u64, images: Images) {
    let (database, target, orders) = refusing().await;
    drop(target);
    let mut config = database.config();
    config.unrepresentable = Unrepresentable::DeadLetter;
    let open =
        || database.sink_with(|config, _| config.unrepresentable = Unrepresentable::DeadLetter);
    let mut target = open().await;
    let mut letters = database.letters_of(&config).await;
    let mut random = Random(seed);
    let mut model = Model::from([(1, ["x".to_owned(), "y".to_owned()])]);
    for round in 0..30 {
        let count = 1 + random.below(5);
        let events = (0..count).map(|_| step(&mut random, images, &orders, &mut model));
        let events = events.collect();
        target.apply(events).await;
        let place = format!("seed {seed}, {images:?}, round {round}");
        check(&database, &model, &place).await;
        match random.below(8) {
            0 => drop(retry_all(&mut letters).await),
            1 => {
                drop(target);
                target = open().await;
                target.streaming(&[&orders.id]);
            }
            _ => {}
        }
    }
    target.apply(mend(images, &orders, &mut model)).await;
    database.allow().await;
    let (_, kept) = retry_all(&mut letters).await;
    assert_eq!(kept, Vec::<String>::new(), "seed {seed}, {images:?}");
    assert_eq!(
        database.orders().await,
        rows_of(&model),
        "seed {seed}, {images:?}"
    );
    assert_eq!(count_letters(&letters).await, 0, "seed {seed}, {images:?}");
    drop((target, letters));
    database.drop_now().await;
}

async fn count_letters(letters: &DeadLetters) -> u64 {
    count(letters).await
}

/// Changes whatever the target can never hold.
fn mend(
    images: Images,
    table: &Arc<TableSchema>,
    model: &mut Model,
) -> Vec<sluice_core::ChangeEvent> {
    let mut events = vec![end()];
    for (&id, values) in model {
        let old = values.clone();
        let changes = [0, 1].map(|at| old[at] == IMPOSSIBLE);
        for value in values.iter_mut().filter(|value| *value == IMPOSSIBLE) {
            "mended".clone_into(value);
        }
        if changes.contains(&true) {
            events.push(match images {
                Images::Full => update(table, full(id, &old), full(id, values)),
                Images::Minimal => update(table, key_only(id), partial(id, values, changes)),
            });
        }
    }
    events
}

/// Rows that no letter speaks of are the source's.
async fn check(database: &Database, model: &Model, place: &str) {
    let spoken = database
        .lines(
            "SELECT DISTINCT v.id FROM sluice.dead_letters,
             LATERAL (VALUES (before->>'id'), (after->>'id')) AS v(id) WHERE v.id IS NOT NULL",
        )
        .await;
    let silent = |line: &String| {
        let id = line.split('|').next().unwrap_or_default();
        !spoken.iter().any(|known| known == id)
    };
    let mut found = database.orders().await;
    let mut wanted = rows_of(model);
    found.retain(silent);
    wanted.retain(silent);
    assert_eq!(found, wanted, "{place}; letters of {spoken:?}");
}

#[tokio::test]
async fn retries_give_the_sources_rows_whatever_was_refused() {
    for seed in 1..=12 {
        history(seed * 7_919, Images::Full).await;
    }
}

#[tokio::test]
async fn retries_give_the_sources_rows_where_it_logs_what_changed_only() {
    for seed in 1..=12 {
        history(seed * 104_729, Images::Minimal).await;
    }
}
