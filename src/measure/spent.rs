//! How long a task waits for the database and uses it, for whoever has given it its work.
//!
//! The database doesn't know of requests, and the edge not of the database: they meet here. What a task
//! has spawned counts for nobody.

use std::cell::Cell;
use std::time::Duration;

tokio::task_local! {
    static ON_DATABASE: Cell<Duration>;
}

/// Runs `work`; beside what came of it, how long it has spent on the database. Connections that it used at the
/// same time add up.
pub async fn on_database<F: Future>(work: F) -> (F::Output, Duration) {
    let work = async {
        let outcome = work.await;
        (outcome, ON_DATABASE.with(Cell::get))
    };
    ON_DATABASE.scope(Cell::default(), work).await
}

/// This task has spent so long on the database.
pub fn add_on_database(spent: Duration) {
    // Where nobody asks, nobody is told.
    let _ = ON_DATABASE.try_with(|sum| sum.set(sum.get() + spent));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn each_work_is_told_of_its_own_time() {
        const SECOND: Duration = Duration::from_secs(1);
        add_on_database(SECOND);
        let work = |seconds: u32| {
            on_database(async move {
                for _ in 0..seconds {
                    add_on_database(SECOND);
                    tokio::task::yield_now().await;
                }
                seconds
            })
        };
        let (two, three, none) = tokio::join!(work(2), work(3), work(0));
        assert_eq!(two, (2, 2 * SECOND));
        assert_eq!(three, (3, 3 * SECOND));
        assert_eq!(none, (0, Duration::ZERO));
    }
}
