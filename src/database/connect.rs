//! How a connection is made: where it lives, how long it may take, what it tells the server.
//!
//! Requests come from the listeners' runtimes, and a socket belongs to the runtime that made it. So
//! [`Connector`] does everything on the runtime that opened the database, whoever asks.
//!
//! `statement_timeout` travels in the start-up packet (`options`), because a `SET` would not hold in
//! PgBouncer's transaction mode: it would stay with whichever server connection happened to run it,
//! and with other programs that get it next. PgBouncer refuses `options` unless told to ignore
//! them; then the connection is made without, and the log says once what to do instead.

use std::error::Error as _;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio_postgres::{AsyncMessage, Client, Config, Error, SimpleQueryMessage, error::SqlState};
use tokio_postgres_rustls::MakeRustlsConnect;
use tracing::{debug, warn};

use super::sessions::drive;

/// For the socket of one address, unless the URL says otherwise.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A silent peer is asked for a sign of life after this long, then [`KEEPALIVE_RETRIES`] times in
/// steps of [`KEEPALIVE_INTERVAL`]. The system's two hours would keep a request hanging as long.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_RETRIES: u32 = 3;

/// How long sent data may stay unacknowledged.
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(30);

/// tokio-postgres' own default, by which a value of the user's is told from none.
const UNSET_KEEPALIVE_IDLE: Duration = Duration::from_hours(2);

/// Adds what the URL leaves open.
pub(super) fn with_defaults(mut config: Config, acquire_timeout: Duration) -> Config {
    if config.get_application_name().is_none() {
        config.application_name("unibody");
    }
    if config.get_connect_timeout().is_none() {
        config.connect_timeout(CONNECT_TIMEOUT.min(acquire_timeout));
    }
    if config.get_tcp_user_timeout().is_none() {
        config.tcp_user_timeout(TCP_USER_TIMEOUT);
    }
    if config.get_keepalives_idle() == UNSET_KEEPALIVE_IDLE {
        config.keepalives_idle(KEEPALIVE_IDLE);
    }
    if config.get_keepalives_interval().is_none() {
        config.keepalives_interval(KEEPALIVE_INTERVAL);
    }
    if config.get_keepalives_retries().is_none() {
        config.keepalives_retries(KEEPALIVE_RETRIES);
    }
    config
}

/// `error` with its causes on one line, as the log wants it.
pub(crate) fn explain(error: &Error) -> String {
    if let Some(database) = error.as_db_error() {
        return format!("{} ({})", database.message(), database.code().code());
    }
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}

/// Makes connections on one runtime. Clones share what one of them learned.
#[derive(Clone)]
pub(super) struct Connector {
    runtime: Handle,
    tls: MakeRustlsConnect,
    statement_timeout: Duration,
    learned: Arc<Learned>,
}

#[derive(Default)]
struct Learned {
    /// A PgBouncer is in the way that refuses `options`.
    refuses_options: AtomicBool,
    /// Whether `statement_timeout` was looked at once.
    checked: AtomicBool,
}

/// A connection outside the pool; closes when dropped.
pub(crate) struct Alone {
    /// The connection.
    pub(crate) client: Client,
    driver: JoinHandle<()>,
}

impl Connector {
    pub(super) fn new(
        runtime: Handle,
        tls: MakeRustlsConnect,
        statement_timeout: Duration,
    ) -> Self {
        Self {
            runtime,
            tls,
            statement_timeout,
            learned: Arc::default(),
        }
    }

    /// A connection outside the pool, with the server's own `statement_timeout`.
    pub(super) async fn alone(&self, config: &Config) -> Result<Alone, Error> {
        let (client, driver) = on_runtime(&self.runtime, self.attempt(config)).await?;
        Ok(Alone { client, driver })
    }

    /// A connection outside the pool; `hear` gets what the server says unasked.
    pub(super) async fn listening(
        &self,
        config: &Config,
        hear: impl FnMut(AsyncMessage) + Send + 'static,
    ) -> Result<(Client, JoinHandle<()>), Error> {
        on_runtime(&self.runtime, self.attempt_hearing(config, hear)).await
    }

    async fn attempt(&self, config: &Config) -> Result<(Client, JoinHandle<()>), Error> {
        let ignore = |message| debug!(?message, "the database says");
        self.attempt_hearing(config, ignore).await
    }

    async fn attempt_hearing(
        &self,
        config: &Config,
        hear: impl FnMut(AsyncMessage) + Send + 'static,
    ) -> Result<(Client, JoinHandle<()>), Error> {
        let (client, connection) = config.connect(self.tls.clone()).await?;
        let driver = self.runtime.spawn(async move {
            // Not reached when the pool drops a connection: that aborts this task.
            if let Err(error) = drive(connection, hear).await {
                // Whoever used the connection gets the error too, and the pool replaces it.
                debug!("a database connection ended: {}", explain(&error));
            }
        });
        Ok((client, driver))
    }

    /// A connection for the pool: with `statement_timeout`, where that is possible.
    async fn limited(&self, config: &Config) -> Result<(Client, JoinHandle<()>), Error> {
        if self.learned.refuses_options.load(Ordering::Relaxed) {
            return self.attempt(config).await;
        }
        match self.attempt(&self.with_statement_timeout(config)).await {
            Err(error) if is_refusal_of_options(&error) => {
                self.learned.refuses_options.store(true, Ordering::Relaxed);
                let connection = self.attempt(config).await?;
                self.check_statement_timeout(&connection.0).await;
                Ok(connection)
            }
            Ok(connection) => {
                self.check_statement_timeout(&connection.0).await;
                Ok(connection)
            }
            Err(error) => Err(error),
        }
    }

    /// Options of the URL come last, so that they win.
    fn with_statement_timeout(&self, config: &Config) -> Config {
        let own = format!(
            "-c statement_timeout={}",
            self.statement_timeout.as_millis()
        );
        let options = match config.get_options() {
            Some(theirs) => format!("{own} {theirs}"),
            None => own,
        };
        let mut config = config.clone();
        config.options(options);
        config
    }

    /// Says so, once, if no statement timeout is in force although one is wanted.
    async fn check_statement_timeout(&self, client: &Client) {
        if self.statement_timeout.is_zero() || self.learned.checked.swap(true, Ordering::Relaxed) {
            return;
        }
        let query = "SELECT setting FROM pg_settings WHERE name = 'statement_timeout'";
        let Ok(answer) = client.simple_query(query).await else {
            return;
        };
        let in_force = answer.iter().find_map(|message| match message {
            SimpleQueryMessage::Row(row) => row.get(0),
            _ => None,
        });
        if in_force == Some("0") {
            warn!(
                "database.statement_timeout does not reach PostgreSQL (PgBouncer drops it): set it \
                 there with ALTER ROLE … SET statement_timeout = '{}ms', and see docs/database.md \
                 about PgBouncer",
                self.statement_timeout.as_millis()
            );
        }
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl deadpool_postgres::Connect for Connector {
    fn connect(
        &self,
        config: &Config,
    ) -> Pin<Box<dyn Future<Output = Result<(Client, JoinHandle<()>), Error>> + Send + '_>> {
        let config = config.clone();
        Box::pin(async move { on_runtime(&self.runtime, self.limited(&config)).await })
    }
}

/// Runs `future` in the caller's task, with its sockets and timers on `runtime`. A task of its own
/// would go on when the caller gives up.
async fn on_runtime<F: Future>(runtime: &Handle, future: F) -> F::Output {
    let mut future = pin!(future);
    std::future::poll_fn(|context| {
        let _entered = runtime.enter();
        future.as_mut().poll(context)
    })
    .await
}

/// PgBouncer: "unsupported startup parameter: options", since 1.20 "… in options: …".
fn is_refusal_of_options(error: &Error) -> bool {
    error.as_db_error().is_some_and(|error| {
        *error.code() == SqlState::PROTOCOL_VIOLATION
            && error.message().starts_with("unsupported startup parameter")
    })
}
