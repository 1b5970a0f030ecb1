//! Random histories: whatever the table is like and however the batches are cut, the target ends as
//! the source does. A failure prints its seed; `SLUICE_SEED` plays it again.

use std::{collections::BTreeMap, sync::Arc};

use sluice_core::{ChangeEvent, ColumnType, Row, Sink as _, TableSchema, Value};
use sluice_postgres::PostgresSink;

use crate::support::*;

const HISTORIES: u64 = 40;
const STEPS: usize = 120;

/// What the table is like.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    Plain,
    Unique,
    UniqueWithExtraColumn,
    Keyless,
    /// A trigger fires, since the user can't switch it off.
    Guarded,
}

const KINDS: [Kind; 5] = [
    Kind::Plain,
    Kind::Unique,
    Kind::UniqueWithExtraColumn,
    Kind::Keyless,
    Kind::Guarded,
];

type State = BTreeMap<i64, (Option<i64>, i64)>;

struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % limit
    }

    fn key(&mut self) -> i64 {
        self.below(12) as i64
    }
}

fn things(kind: Kind) -> Arc<TableSchema> {
    let int = ColumnType::Int {
        bits: 32,
        unsigned: false,
    };
    let columns = vec![
        column("id", BIGINT),
        column("u", int.clone()),
        column("v", int),
    ];
    table("things", columns, kind != Kind::Keyless)
}

fn image(key: i64, (u, v): (Option<i64>, i64), logged: [bool; 2]) -> Row {
    let u = u.map_or(Value::Null, Value::Int);
    let choose = |logged, value| if logged { value } else { Value::Unchanged };
    Row::pack([
        Value::Int(key),
        choose(logged[0], u),
        choose(logged[1], Value::Int(v)),
    ])
}

/// One more change that the source could have made.
fn next_change(
    random: &mut Random,
    state: &mut State,
    kind: Kind,
    schema: &Arc<TableSchema>,
) -> Option<ChangeEvent> {
    let key = random.key();
    let taken =
        |state: &State, u: Option<i64>| u.is_some() && state.values().any(|(held, _)| *held == u);
    let u = Some(random.below(8) as i64).filter(|u| *u > 0);
    let v = random.below(100) as i64;
    let full = [true, true];
    match random.below(5) {
        0 | 1 => {
            if state.contains_key(&key) || taken(state, u) {
                return None;
            }
            state.insert(key, (u, v));
            Some(insert(schema, image(key, (u, v), full)))
        }
        2 => {
            let old = state.remove(&key)?;
            Some(delete(schema, image(key, old, full)))
        }
        3 => {
            let old = *state.get(&key)?;
            let new = match random.below(3) {
                0 => (old.0, v),
                _ if taken(state, u) => (None, v),
                _ => (u, v),
            };
            state.insert(key, new);
            let minimal = kind != Kind::Keyless && random.below(3) == 0;
            if minimal {
                let changed = [old.0 != new.0, old.1 != new.1];
                let before = image(key, old, [false, false]);
                return Some(update(schema, before, image(key, new, changed)));
            }
            Some(update(schema, image(key, old, full), image(key, new, full)))
        }
        _ => {
            let to = random.key();
            if state.contains_key(&to) {
                return None;
            }
            let old = state.remove(&key)?;
            state.insert(to, old);
            let logged = if kind != Kind::Keyless && random.below(4) == 0 {
                [false, false]
            } else {
                full
            };
            Some(update(
                schema,
                image(key, old, logged),
                image(to, old, logged),
            ))
        }
    }
}

#[tokio::test]
async fn random_histories_end_in_the_source_s_state() {
    let seed = match std::env::var("SLUICE_SEED") {
        Ok(seed) => seed.parse().expect("SLUICE_SEED is a number"),
        Err(_) => fresh_seed(),
    };
    let database = Database::new().await;
    for number in 0..HISTORIES {
        let kind = KINDS[number as usize % KINDS.len()];
        let mut random = Random(seed ^ (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        run(
            &database,
            &mut random,
            kind,
            &format!("seed {seed}, history {number}, {kind:?}"),
        )
        .await;
    }
    let user = format!("{}_poor", database.name);
    database
        .run(&format!("DROP OWNED BY {user} CASCADE; DROP USER {user}"))
        .await;
    database.drop_now().await;
}

async fn run(database: &Database, random: &mut Random, kind: Kind, name: &str) {
    database
        .run("DROP SCHEMA IF EXISTS shop, sluice CASCADE; CREATE SCHEMA shop")
        .await;
    let table = match kind {
        Kind::Plain | Kind::Keyless => "",
        Kind::Unique => "CREATE TABLE shop.things (id bigint PRIMARY KEY, u int UNIQUE, v int)",
        Kind::UniqueWithExtraColumn => {
            "CREATE TABLE shop.things (id bigint PRIMARY KEY, u int UNIQUE, v int, note text)"
        }
        Kind::Guarded => {
            "CREATE TABLE shop.things (id bigint PRIMARY KEY, u int UNIQUE, v int);
             CREATE FUNCTION shop.nothing() RETURNS trigger LANGUAGE plpgsql
                 AS 'BEGIN RETURN coalesce(NEW, OLD); END';
             CREATE TRIGGER nothing BEFORE INSERT OR UPDATE OR DELETE ON shop.things
                 FOR EACH ROW EXECUTE FUNCTION shop.nothing();"
        }
    };
    database.run(table).await;
    let schema = things(kind);
    let mut target = if kind == Kind::Guarded {
        poor_sink(database).await
    } else {
        database.sink().await
    };
    target.prepare(&schema).await;
    let mut state = State::new();
    let mut events = Vec::new();
    for _ in 0..STEPS {
        events.extend(next_change(random, &mut state, kind, &schema));
        if random.below(12) == 0 {
            let outcome = target.apply(std::mem::take(&mut events)).await;
            assert_eq!(outcome.dead_letters, 0, "{name}");
            assert!(outcome.stopped.is_empty(), "{name}");
        }
    }
    let outcome = target.apply(events).await;
    assert_eq!(outcome.dead_letters, 0, "{name}");
    let wanted = state.iter().map(|(key, (u, v))| {
        let u = u.map_or("-".to_owned(), |u| u.to_string());
        format!("{key}|{u}|{v}")
    });
    let found = database
        .lines("SELECT id, u, v FROM shop.things ORDER BY id")
        .await;
    assert_eq!(found, wanted.collect::<Vec<_>>(), "{name}");
}

/// A sink whose user can't set `session_replication_role`.
async fn poor_sink(database: &Database) -> Target {
    let user = format!("{}_poor", database.name);
    database
        .run(&format!(
            "DO $$ BEGIN CREATE USER {user} PASSWORD 'secret';
                 EXCEPTION WHEN duplicate_object THEN NULL; END $$;
             GRANT CREATE ON DATABASE {} TO {user}; GRANT ALL ON SCHEMA shop TO {user};
             GRANT ALL ON ALL TABLES IN SCHEMA shop TO {user}",
            database.name
        ))
        .await;
    let secrets = Arc::new(secrets(&user, "secret"));
    let (config, postgres) = (database.config(), database.postgres());
    let mut sink = PostgresSink::new("test".into(), &config, postgres, secrets);
    sink.open().await.unwrap();
    Target {
        sink,
        position: at(0),
    }
}

fn fresh_seed() -> u64 {
    let now = std::time::SystemTime::now();
    let since = now.duration_since(std::time::UNIX_EPOCH);
    since.expect("the clock runs").as_nanos() as u64
}
