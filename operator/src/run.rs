//! From the command line to running control loops, and back to an orderly end.
//!
//! First the HTTP server, so that probes have an answer; then the Lease; then the watches, until each
//! has brought what there is; then the control loops. The end comes by a signal (the Lease is given
//! back) or by the loss of the Lease (somebody else may begin, and this process must be gone).

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use kube::Client;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    task::JoinSet,
    time::timeout,
};
use tracing::{info, warn};

use crate::{
    applied::Applied,
    arguments::RunArguments,
    checks::Checks,
    context::{self, Context, Settings, SharedContext, Stage},
    controller::{self, sink, source},
    events::{self, Publisher},
    http::{self, Probes, Site},
    leader::Leadership,
    memory::{SinkMemories, SourceMemories},
    observe::Observer,
    secrets::SecretDigests,
    server_id::ServerIds,
    wake::{Waker, Wakes},
    watching::Watching,
};

/// How long the end may take.
const SHUTDOWN_MAX: Duration = Duration::from_secs(3);

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// By a signal.
    Asked,
    /// Another operator may be the leader.
    LeaseLost,
    /// A control loop or a watch came to an end, which none should.
    Broken,
}

/// Runs until a signal or the loss of the Lease.
pub(crate) async fn run(arguments: RunArguments) -> anyhow::Result<Ended> {
    let resources = &arguments.agent_resources;
    let settings = Settings {
        agent_resources: serde_json::from_str(resources)
            .with_context(|| format!("--agent-resources {resources}"))?,
        arguments,
    };
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let listen = settings.arguments.listen;
    let listener = TcpListener::bind(listen)
        .await
        .with_context(|| format!("--listen {listen}"))?;
    let client = Client::try_default()
        .await
        .context("no way to the API server is configured")?;
    let leadership = Arc::new(leadership(&client, &settings));
    let stage = Arc::new(Stage::new(Arc::clone(&leadership)));
    let mut tasks = JoinSet::new();
    tasks.spawn(http::serve(listener, Arc::new(site(&stage))));
    let lead = lead(client, settings, Arc::clone(&leadership), stage);
    let ended = tokio::select! {
        _ = terminate.recv() => Ended::Asked,
        _ = interrupt.recv() => Ended::Asked,
        ended = lead => ended,
        _ = tasks.join_next() => Ended::Broken,
    };
    info!(?ended, "the operator ends");
    if timeout(SHUTDOWN_MAX, leadership.release()).await.is_err() {
        warn!("the lease could not be released in time");
    }
    Ok(ended)
}

/// Waits for the Lease, and does everything that only its holder may do.
async fn lead(
    client: Client,
    settings: Settings,
    leadership: Arc<Leadership>,
    stage: Arc<Stage>,
) -> Ended {
    leadership.acquire().await;
    let (waker, queues) = Waker::new();
    let watching = Watching::new(&client, &settings.arguments.namespaces);
    let mut complete = watching.complete();
    let (publisher, events) = Publisher::new(Arc::clone(&stage.board));
    let context = Arc::new(Context {
        caches: watching.caches(),
        leadership: Arc::clone(&leadership),
        waker: waker.clone(),
        sinks: SinkMemories::default(),
        sources: SourceMemories::default(),
        secrets: SecretDigests::default(),
        server_ids: ServerIds::default(),
        checks: Checks::default(),
        applied: Applied::default(),
        observer: Observer::new(client.clone()),
        metrics: Arc::clone(&stage.metrics),
        board: Arc::clone(&stage.board),
        publisher,
        questions: context::questions(),
        settings,
        client,
    });
    // Ends with this function, whatever way that ends.
    let mut tasks = watching.follow(&context);
    let own = Arc::clone(&context);
    tasks.spawn(async move {
        let (client, identity) = (own.client.clone(), own.leadership.identity());
        events::publish_queued(events, client, identity, &own.metrics).await;
    });
    let loops = async {
        for complete in &mut complete {
            // An error means that a watch has ended, which is noticed below.
            let (Ok(_) | Err(_)) = complete.wait_for(|complete| *complete).await;
        }
        info!("everything that there is has been read");
        stage.enter(Arc::clone(&context));
        waker.start();
        control(context, queues).await;
    };
    tokio::select! {
        () = leadership.keep() => Ended::LeaseLost,
        () = loops => Ended::Broken,
        _ = tasks.join_next() => Ended::Broken,
    }
}

/// Runs both control loops.
async fn control(context: SharedContext, wakes: Wakes) {
    let sinks = controller::run(
        Arc::clone(&context),
        context.caches.sinks.store(),
        wakes.sinks,
        |object, context| Box::pin(sink::reconcile(object, context)),
    );
    let sources = controller::run(
        Arc::clone(&context),
        context.caches.sources.store(),
        wakes.sources,
        |object, context| Box::pin(source::reconcile(object, context)),
    );
    tokio::join!(sinks, sources);
}

/// What is served, whether this operator leads or stands by.
fn site(stage: &Arc<Stage>) -> Site {
    let (leads, asks) = (Arc::clone(&stage.leadership), Arc::clone(stage));
    let starts = Arc::clone(stage);
    Site {
        identity: stage.leadership.identity().to_owned(),
        board: Arc::clone(&stage.board),
        metrics: Arc::clone(&stage.metrics),
        probes: Probes {
            // A loop that ends takes the process with it.
            is_alive: Box::new(|| true),
            is_ready: Box::new(move || starts.is_ready()),
            is_leader: Box::new(move || leads.is_leader()),
            agents: Box::new(move || {
                let context = asks.context();
                context.map_or((0, 0), |context| context.observer.answering())
            }),
        },
    }
}

fn leadership(client: &Client, settings: &Settings) -> Leadership {
    let arguments = &settings.arguments;
    let identity = arguments.identity.clone().unwrap_or_else(|| {
        let host = std::fs::read_to_string("/etc/hostname").unwrap_or_default();
        format!("{}-{}", host.trim(), std::process::id())
    });
    Leadership::new(
        client.clone(),
        &arguments.leader_election_namespace,
        &arguments.leader_election_name,
        identity,
    )
}
