//! The source alone: from the server's log to batches of events, which nobody applies.

use std::{fs, sync::Arc, time::Instant};

use anyhow::{Context, Result, ensure};
use sluice_agent_api::{
    SecretKey, SecretStore,
    config::{ConnectionConfig, MysqlConfig, TlsConfig},
    secret::InlineSecrets,
};
use sluice_core::{ChangeEvent, LogPosition, RowOperation, Source, TableSelection};
use sluice_e2e::{MysqlDatabase, Shop};
use sluice_mysql::MysqlSource;

use crate::{
    Settings,
    changes::Orders,
    report::{Report, grouped, median},
};

/// A replica id that no pipeline has.
const SERVER_ID: u32 = 0x3fff_0001;

pub(crate) async fn run(settings: &Settings, report: &mut Report) -> Result<()> {
    let mysql = MysqlDatabase::create(&settings.servers, "bench").await?;
    let shop = Shop::create(&mysql).await?;
    let start = executed(&mysql).await?;
    shop.load_rows(settings.rows).await?;
    Orders::new(settings.rows)
        .change(&mysql, settings.changes / 3)
        .await?;
    let end = executed(&mysql).await?;
    let (mut per_core, mut per_second) = (Vec::new(), Vec::new());
    for _ in 0..settings.repeat {
        let measured = read(&mysql, &start, &end).await?;
        per_core.push(measured.images as f64 / measured.cpu_seconds);
        per_second.push(measured.images as f64 / measured.seconds);
    }
    let per_core = median(per_core);
    report.bar(
        "decoding the log",
        format!("{} row images per second of CPU", grouped(per_core)),
        &format!("{} per second of time", grouped(median(per_second))),
        ("> 500,000", per_core > 500_000.0),
    );
    Ok(())
}

struct Measured {
    images: u64,
    seconds: f64,
    cpu_seconds: f64,
}

async fn executed(mysql: &MysqlDatabase) -> Result<String> {
    let set = mysql.value("SELECT @@global.gtid_executed").await?;
    Ok(set.replace('\n', ""))
}

async fn read(mysql: &MysqlDatabase, start: &str, end: &str) -> Result<Measured> {
    let start: LogPosition = start.parse()?;
    let LogPosition::Gtid(end) = end.parse()? else {
        anyhow::bail!("not a GTID set")
    };
    let mut source = source(mysql);
    source.open(Some(&start)).await?;
    let (started, cpu_before) = (Instant::now(), own_cpu_seconds()?);
    let mut images = 0;
    loop {
        let batch = source.next().await?;
        images += batch.events.iter().map(images_of).sum::<u64>();
        if let Some(LogPosition::Gtid(here)) = &batch.position
            && here.contains_set(&end)
        {
            break;
        }
    }
    ensure!(images > 0, "no rows in the log");
    Ok(Measured {
        images,
        seconds: started.elapsed().as_secs_f64(),
        cpu_seconds: own_cpu_seconds()? - cpu_before,
    })
}

fn images_of(event: &ChangeEvent) -> u64 {
    match event {
        ChangeEvent::Row(change) => match &change.operation {
            RowOperation::Update { .. } => 2,
            _ => 1,
        },
        _ => 0,
    }
}

fn source(mysql: &MysqlDatabase) -> MysqlSource {
    let key = |key: &str| SecretKey {
        name: "mysql".to_owned(),
        key: key.to_owned(),
    };
    let mut secrets = InlineSecrets::default();
    secrets.insert(key("username"), mysql.endpoint.user.clone().into_bytes());
    secrets.insert(
        key("password"),
        mysql.endpoint.password.clone().into_bytes(),
    );
    let secrets: Arc<dyn SecretStore> = Arc::new(secrets);
    let config = MysqlConfig {
        connection: ConnectionConfig {
            host: mysql.endpoint.host.clone(),
            port: mysql.endpoint.port,
            database: None,
            username: key("username"),
            password: key("password"),
            tls: TlsConfig::default(),
        },
        server_id: SERVER_ID,
    };
    let selection = TableSelection::new(vec![format!("{}.*", mysql.name)], Vec::new());
    MysqlSource::new(config, selection, 10, secrets)
}

fn own_cpu_seconds() -> Result<f64> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    let (_, fields) = stat.rsplit_once(") ").context("/proc/self/stat")?;
    let ticks = fields
        .split(' ')
        .skip(11)
        .take(2)
        .filter_map(|field| field.parse::<u64>().ok());
    Ok(ticks.sum::<u64>() as f64 / 100.0)
}
