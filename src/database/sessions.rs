//! Connections of their own, for what a pool can't give: an ear for notifications, and locks that end
//! with whoever held them.

use std::task::Poll;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_postgres::{AsyncMessage, Client};

use super::connect::{Alone, explain};
use super::{Database, Unavailable};

/// For a transaction that takes as long as it takes: no limit that a role, a database or the server sets ends
/// it. PostgreSQL 17 has one more than those before, where naming it is an error.
pub(crate) const NO_TIME_LIMIT: &str = "SET LOCAL statement_timeout = 0; \
    SET LOCAL idle_in_transaction_session_timeout = 0; \
    SELECT pg_catalog.set_config(name, '0', true) FROM pg_catalog.pg_settings \
        WHERE name = 'transaction_timeout'";

/// How long a session may take to let go of its lock before its connection is cut.
const FAREWELL: Duration = Duration::from_secs(5);

/// A session that hears what is notified on one channel. Ends when dropped.
///
/// Behind PgBouncer's transaction mode it is made, and never hears anything.
pub struct Listener {
    /// The session itself.
    pub client: Client,
    heard: UnboundedReceiver<String>,
    driver: JoinHandle<()>,
}

/// Held while it lives, and no longer than its session.
pub struct SessionLock {
    /// Until it is dropped.
    session: Option<Alone>,
    runtime: Handle,
}

impl Database {
    /// A session that listens on `channel`, a plain identifier.
    ///
    /// # Errors
    /// [`Unavailable`] when PostgreSQL can't be reached or refuses.
    pub async fn listen(&self, channel: &str) -> Result<Listener, Unavailable> {
        let attempt = async {
            let (sender, heard) = unbounded_channel();
            let connector = &self.inner.connector;
            let (client, driver) = connector
                .listening(&self.inner.target, move |message| {
                    if let AsyncMessage::Notification(notification) = message {
                        // Nobody hears it once the listener is dropped.
                        let _ = sender.send(notification.payload().to_owned());
                    }
                })
                .await?;
            let listener = Listener {
                client,
                heard,
                driver,
            };
            let listen = format!("LISTEN {channel}");
            listener.client.batch_execute(&listen).await?;
            Ok(listener)
        };
        match timeout(self.inner.acquire_timeout, attempt).await {
            Ok(listener) => listener.map_err(|error| refused(&error)),
            Err(_) => Err(self.unreachable("no answer to a connection attempt".into())),
        }
    }

    /// The lock called `name`, unless another session holds it. It is held by an open transaction, and
    /// so survives PgBouncer's transaction mode, where a session's own locks break. The transaction
    /// sees and keeps nothing: it is in nobody's way, however long it is open.
    ///
    /// # Errors
    /// [`Unavailable`] when PostgreSQL can't be reached or refuses.
    pub async fn try_lock(&self, name: &str) -> Result<Option<SessionLock>, Unavailable> {
        // The server looks after a holder that vanished without a word: the system's two hours
        // would keep the others waiting as long.
        const WATCH: &str = "SET LOCAL tcp_keepalives_idle = 20; \
             SET LOCAL tcp_keepalives_interval = 10; SET LOCAL tcp_keepalives_count = 3";
        const LOCK: &str = "SELECT pg_try_advisory_xact_lock(hashtextextended($1, 0))";
        let session = self.alone().await?;
        let attempt = async {
            let client = &session.client;
            let begin = format!("BEGIN; {WATCH}; {NO_TIME_LIMIT}");
            client.batch_execute(&begin).await?;
            let text = tokio_postgres::types::Type::TEXT;
            let row = client.query_typed_one(LOCK, &[(&name, text)]).await?;
            row.try_get::<_, bool>(0)
        };
        match timeout(self.inner.acquire_timeout, attempt).await {
            Ok(Ok(true)) => Ok(Some(SessionLock {
                session: Some(session),
                runtime: Handle::current(),
            })),
            Ok(Ok(false)) => Ok(None),
            Ok(Err(error)) => Err(refused(&error)),
            Err(_) => Err(self.unreachable("no answer to a query".into())),
        }
    }
}

impl Listener {
    /// The next notification's payload; `None` when the session has ended.
    pub async fn hear(&mut self) -> Option<String> {
        self.heard.recv().await
    }

    /// One that has been heard already.
    pub fn heard(&mut self) -> Option<String> {
        self.heard.try_recv().ok()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// With good manners: to break the connection would free the lock as well, but PostgreSQL's log would
/// tell of each as of a lost client.
impl Drop for SessionLock {
    fn drop(&mut self) {
        if let Some(session) = self.session.take() {
            self.runtime.spawn(async move {
                let _ = timeout(FAREWELL, session.client.batch_execute("ROLLBACK")).await;
            });
        }
    }
}

/// Runs `connection` to its end, and hands what the server says unasked to `hear`.
pub(super) async fn drive<S, T>(
    mut connection: tokio_postgres::Connection<S, T>,
    mut hear: impl FnMut(AsyncMessage),
) -> Result<(), tokio_postgres::Error>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    std::future::poll_fn(move |context| {
        loop {
            match connection.poll_message(context) {
                Poll::Ready(Some(Ok(message))) => hear(message),
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(error)),
                Poll::Ready(None) => return Poll::Ready(Ok(())),
                Poll::Pending => return Poll::Pending,
            }
        }
    })
    .await
}

fn refused(error: &tokio_postgres::Error) -> Unavailable {
    Unavailable::unreachable(explain(error))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Server, settings};
    use super::NO_TIME_LIMIT;

    #[tokio::test(flavor = "multi_thread")]
    async fn a_lock_is_one_sessions_and_dies_with_it() {
        let server = Server::start().await;
        let (one, two) = (server.open(&settings()), server.open(&settings()));
        let held = one.try_lock("a").await.unwrap();
        assert!(held.is_some());
        assert!(two.try_lock("a").await.unwrap().is_none());

        // As when the holder's machine dies: the server ends the session.
        let end =
            "SELECT pg_terminate_backend(pid, 10000) FROM pg_locks WHERE locktype = 'advisory'";
        let client = two.client().await.unwrap();
        assert_eq!(client.query(end, &[]).await.unwrap().len(), 1);
        assert!(two.try_lock("a").await.unwrap().is_some());
        // Not before: a lock that is let go goes when PostgreSQL has seen to it.
        let one_name = one.try_lock("b").await.unwrap();
        assert!(two.try_lock("c").await.unwrap().is_some(), "another name");
        drop((held, client, one_name));
        server.stop().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn no_limit_ends_a_transaction_that_is_to_have_none() {
        let server = Server::start().await;
        let database = server.open(&settings());
        let client = database.client().await.unwrap();
        let limits = [
            ("statement_timeout", "one of every server"),
            ("idle_in_transaction_session_timeout", "another"),
            ("lock_timeout", "as transaction_timeout where there is one"),
        ];
        // None, where it is not there.
        let with_newest = NO_TIME_LIMIT.replace("transaction_timeout'", "lock_timeout'");
        assert_ne!(with_newest, NO_TIME_LIMIT);
        for lift in [NO_TIME_LIMIT, &with_newest] {
            for (limit, why) in limits {
                let sql = format!("SET {limit} = '50s'; BEGIN; {lift}");
                client.batch_execute(&sql).await.expect(why);
                let row = client.query_one(&format!("SHOW {limit}"), &[]).await;
                let within: String = row.unwrap().get(0);
                let is_lifted = limit != "lock_timeout" || lift != NO_TIME_LIMIT;
                assert_eq!(within == "0", is_lifted, "{limit}, {why}: {within}");
                client.batch_execute("COMMIT").await.unwrap();
                let row = client.query_one(&format!("SHOW {limit}"), &[]).await;
                let after: String = row.unwrap().get(0);
                assert_eq!(after, "50s", "{limit} is the session's again");
                client
                    .batch_execute(&format!("SET {limit} = 0"))
                    .await
                    .unwrap();
            }
        }
        drop(client);
        server.stop().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_listener_hears_what_others_say_and_notices_its_end() {
        let server = Server::start().await;
        let database = server.open(&settings());
        let mut listener = database.listen("test_channel").await.unwrap();
        let client = database.client().await.unwrap();
        let say = "SELECT pg_notify('test_channel', 'milk')";
        client.batch_execute(say).await.unwrap();
        assert_eq!(listener.hear().await.as_deref(), Some("milk"));
        assert_eq!(listener.heard(), None);
        let row = listener
            .client
            .query_one("SELECT pg_backend_pid()", &[])
            .await;
        let pid: i32 = row.unwrap().get(0);
        client
            .query("SELECT pg_terminate_backend($1)", &[&pid])
            .await
            .unwrap();
        assert_eq!(listener.hear().await, None);
        drop(client);
        server.stop().await;
    }
}
