//! What the writers do: small pieces of SQL, put together into transactions.

use fastrand::Rng;

use crate::workload::{ACCOUNTS, COUNTERS, CUSTOMERS, SEATS, TAGS};

/// One transaction as the text of several statements, and about how many rows it changes.
pub(crate) struct Script {
    pub(crate) sql: String,
    pub(crate) changes: u64,
}

/// A random transaction over `highest` orders.
pub(crate) fn random(rng: &mut Rng, highest: u64, bulk: bool) -> Script {
    let mut script = Script {
        sql: "BEGIN;".to_owned(),
        changes: 0,
    };
    if bulk && rng.u32(..150) == 0 {
        many_orders(&mut script, rng, highest);
    }
    for _ in 0..rng.u32(1..8) {
        match rng.u32(..100) {
            0..25 => insert_order(&mut script, rng),
            25..50 => update_order(&mut script, rng, highest),
            50..62 => delete_order(&mut script, rng, highest),
            62..68 => move_order(&mut script, rng, highest),
            68..78 => transfer(&mut script, rng),
            78..86 => count(&mut script, rng),
            86..90 => swap_seats(&mut script, rng),
            90..93 => happen(&mut script, rng),
            93..96 => tag(&mut script, rng),
            96..98 => customer(&mut script, rng),
            _ => line(&mut script, rng),
        }
    }
    // Some change their mind: nothing of it may ever be seen.
    let end = if rng.u32(..20) == 0 {
        "ROLLBACK"
    } else {
        "COMMIT"
    };
    script.sql.push_str(end);
    script
}

impl Script {
    /// Adds statements that change so many rows.
    fn add(&mut self, changes: u64, sql: &str) {
        self.changes += changes;
        self.sql.push_str(sql);
        self.sql.push(';');
    }
}

fn word(rng: &mut Rng) -> &'static str {
    const WORDS: [&str; 8] = [
        "quick",
        "Größe",
        "日本語",
        "😀 smile",
        "it''s",
        "tab\\there",
        "",
        "back\\\\slash",
    ];
    WORDS[rng.usize(..WORDS.len())]
}

fn insert_order(script: &mut Script, rng: &mut Rng) {
    let (customer, status) = (rng.u64(1..=CUSTOMERS), rng.u32(1..=6));
    let (cents, quantity, flags) = (rng.u32(..10_000_000), rng.i32(-5..100), rng.u8(..));
    let (note, rate) = (word(rng), rng.f64() * 1e6);
    script.add(
        1,
        &format!(
            "INSERT INTO orders (customer, status, amount, quantity, created, note, payload, flags, \
             rate, email) VALUES ({customer}, {status}, {cents} / 100, {quantity}, NOW(6), '{note}', \
             JSON_OBJECT('note', '{note}', 'n', {cents}), {flags}, {rate}, 'a{customer}@example.com')"
        ),
    );
}

fn update_order(script: &mut Script, rng: &mut Rng, highest: u64) {
    let id = rng.u64(1..=highest);
    let change = match rng.u32(..6) {
        0 => "quantity = quantity + 1".to_owned(),
        1 => format!("status = {}, amount = amount + 0.01", rng.u32(1..=6)),
        2 => format!("note = '{}', flags = flags ^ 1", word(rng)),
        3 => "payload = JSON_SET(payload, '$.seen', quantity)".to_owned(),
        4 => "note = NULL, payload = NULL, rate = NULL, email = NULL".to_owned(),
        _ => format!("rate = {}, created = NOW(6)", rng.f64()),
    };
    script.add(1, &format!("UPDATE orders SET {change} WHERE id = {id}"));
}

fn delete_order(script: &mut Script, rng: &mut Rng, highest: u64) {
    let id = rng.u64(1..=highest);
    script.add(
        1,
        &format!("DELETE FROM orders WHERE id IN ({id}, -{id}) LIMIT 1"),
    );
}

/// Changes a row's key: there and back again.
fn move_order(script: &mut Script, rng: &mut Rng, highest: u64) {
    let id = rng.u64(1..=highest);
    script.add(
        1,
        &format!(
            "UPDATE orders SET id = -id, quantity = quantity + 1 WHERE id IN ({id}, -{id}) LIMIT 1"
        ),
    );
}

/// Many rows at once, so that transactions of very different size meet.
fn many_orders(script: &mut Script, rng: &mut Rng, highest: u64) {
    let (from, rows) = (rng.u64(1..=highest), rng.u64(100..1_000));
    let until = from + rows;
    let range = format!("id BETWEEN {from} AND {until}");
    let sql = match rng.u32(..3) {
        0 => format!("UPDATE orders SET quantity = quantity + 1 WHERE {range}"),
        1 => format!("DELETE FROM orders WHERE {range}"),
        _ => format!(
            "INSERT INTO orders SELECT NULL, customer, status, amount, quantity, created, updated, \
             note, payload, flags, rate, email FROM orders WHERE {range}"
        ),
    };
    script.add(rows, &sql);
}

fn transfer(script: &mut Script, rng: &mut Rng) {
    let from = rng.u64(1..=ACCOUNTS);
    let to = 1 + (from + rng.u64(..ACCOUNTS - 1)) % ACCOUNTS;
    let amount = rng.u32(1..100);
    let update = |sign: char, id: u64| {
        format!("UPDATE accounts SET balance = balance {sign} {amount} WHERE id = {id}")
    };
    script.add(1, &update('-', from));
    script.add(1, &update('+', to));
}

fn count(script: &mut Script, rng: &mut Rng) {
    let id = rng.u64(1..=COUNTERS);
    script.add(1, &format!("UPDATE counters SET x = x + 1 WHERE id = {id}"));
}

/// Two seats swap their unique positions by way of a third value; sometimes a seat changes its key.
fn swap_seats(script: &mut Script, rng: &mut Rng) {
    let first = rng.u64(1..=SEATS);
    let second = 1 + (first + rng.u64(..SEATS - 1)) % SEATS;
    for (variable, seat) in [("p", first), ("q", second)] {
        script.add(
            0,
            &format!(
                "SELECT position INTO @{variable} FROM seats WHERE id IN ({seat}, -{seat}) FOR UPDATE"
            ),
        );
    }
    let place = |position: &str, seat: u64| {
        format!("UPDATE seats SET position = {position} WHERE id IN ({seat}, -{seat})")
    };
    script.add(1, &place("-@p", first));
    script.add(1, &place("@p", second));
    script.add(1, &place("@q", first));
    if rng.bool() {
        script.add(
            1,
            &format!("UPDATE seats SET id = -id WHERE id IN ({first}, -{first})"),
        );
    }
}

fn happen(script: &mut Script, rng: &mut Rng) {
    let kind = rng.u32(..9);
    let sql = match rng.u32(..4) {
        0 => format!("DELETE FROM events WHERE kind = 'kind {kind}' LIMIT 1"),
        1 => format!(
            "UPDATE events SET detail = '{}' WHERE kind = 'kind {kind}' LIMIT 1",
            word(rng)
        ),
        _ => format!(
            "INSERT INTO events VALUES ('kind {kind}', NOW(3), '{}')",
            word(rng)
        ),
    };
    script.add(1, &sql);
}

fn tag(script: &mut Script, rng: &mut Rng) {
    let tag = rng.u64(1..=TAGS);
    let sql = match rng.u32(..4) {
        0 => format!("REPLACE INTO tags VALUES ('tag {tag}', {tag})"),
        1 => format!("DELETE FROM tags WHERE name = 'tag {tag}'"),
        2 => format!("UPDATE IGNORE tags SET name = 'Été {tag}' WHERE name = 'tag {tag}'"),
        _ => format!(
            "INSERT INTO tags VALUES ('tag {tag}', 1) ON DUPLICATE KEY UPDATE uses = uses + 1"
        ),
    };
    script.add(1, &sql);
}

fn customer(script: &mut Script, rng: &mut Rng) {
    let id = rng.u64(1..=CUSTOMERS);
    let sql = match rng.u32(..3) {
        0 => format!("DELETE FROM customers WHERE id = {id}"),
        1 => format!(
            "REPLACE INTO customers VALUES ({id}, '{}', NULL, '-838:59:59', 0x00FF{id:08x})",
            word(rng)
        ),
        _ => format!("UPDATE customers SET born = CURDATE() WHERE id = {id}"),
    };
    script.add(1, &sql);
}

fn line(script: &mut Script, rng: &mut Rng) {
    let (order, line) = (rng.u32(..500), rng.u32(..6));
    let place = format!("order_id = {order} AND line = {line}");
    let sql = match rng.u32(..4) {
        0 => format!("DELETE FROM order_lines WHERE {place}"),
        1 => format!("UPDATE order_lines SET price = price * 1.1 WHERE {place} AND price < 99999"),
        2 => format!("UPDATE IGNORE order_lines SET line = line + 1 WHERE {place}"),
        _ => format!(
            "INSERT IGNORE INTO order_lines VALUES ({order}, {line}, '{}', 1.25)",
            word(rng)
        ),
    };
    script.add(1, &sql);
}
