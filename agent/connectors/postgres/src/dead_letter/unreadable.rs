//! Records of topics that can't be decoded: kept as bytes.

use serde_json::{Map, Value as Json};
use sluice_core::{Error, Letter, Reason, Stage, Unreadable};
use tokio_postgres::Client;

use crate::text::hex;

/// What stands for the operation of such a letter.
pub(crate) const UNREADABLE: &str = "unreadable";
/// Beyond this a record is named by where it lies only.
const RECORD_BYTES_MAX: usize = 16 << 20;

/// Keeps a record in the open transaction; its bytes only where nobody else does.
pub(crate) async fn store(
    client: &Client,
    sink: &str,
    unreadable: &Unreadable,
    with_bytes: bool,
) -> Result<(), tokio_postgres::Error> {
    let record = &unreadable.record;
    let fits = with_bytes && record.size_bytes() <= RECORD_BYTES_MAX;
    let table = unreadable.table.as_ref();
    let table = table.map_or_else(String::new, ToString::to_string);
    let headers = fits.then(|| headers(&record.headers).to_string());
    let key = record.key.as_deref().filter(|_| fits);
    let value = record.value.as_deref().filter(|_| fits);
    let message = unreadable.message.replace('\0', "");
    let origin = unreadable.origin.to_string();
    let sql = "INSERT INTO sluice.dead_letters (sink, source_table, operation, position, reason, \
               summary, sqlstate, origin, record_key, record_value, record_headers) \
               VALUES ($1, $2, $3, '', $4, $4, '', $5, $6, $7, $8::text::jsonb)";
    client
        .execute(
            sql,
            &[
                &sink,
                &table,
                &UNREADABLE,
                &message,
                &origin,
                &key,
                &value,
                &headers,
            ],
        )
        .await?;
    Ok(())
}

/// The record as those get it who keep letters outside of the target.
pub(crate) fn outside(unreadable: &Unreadable) -> Letter {
    Letter {
        origin: unreadable.origin,
        record: Some(unreadable.record.clone()),
        stage: Stage::Decode,
        reason: Reason::DecodeFailed,
        message: unreadable.message.clone(),
    }
}

/// Why the record's table stops.
pub(crate) fn stops(unreadable: &Unreadable) -> Error {
    let hint = unreadable.hint.as_deref().unwrap_or_default();
    let hint = format!("{hint}; or set errors.onBadRecord: DeadLetter and copy the table again");
    unreadable.to_error().with_hint(hint)
}

/// Headers by name, in hexadecimal digits.
fn headers(headers: &[(String, Option<Vec<u8>>)]) -> Json {
    let named = headers.iter().map(|(name, value)| {
        let value = value
            .as_deref()
            .map_or(Json::Null, |value| hex(value).into());
        (name.replace('\0', ""), value)
    });
    Json::Object(named.collect::<Map<_, _>>())
}
