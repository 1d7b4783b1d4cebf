//! The person for whom a request is served.
//!
//! The guard of the routes sets the person for the whole request, so that every page shows the name and every
//! action is recorded with it.

use crate::domain::audit::{Login, Person};

tokio::task_local! {
    static PERSON: Person;
}

/// Serves a request for `person`. `None`: nobody has logged in.
pub async fn serve_for<T>(person: Option<Person>, serving: impl Future<Output = T>) -> T {
    match person {
        Some(person) => PERSON.scope(person, serving).await,
        None => serving.await,
    }
}

/// The person for whom the present request is served. `None`: nobody has logged in.
pub fn person() -> Option<Person> {
    PERSON.try_with(Clone::clone).ok()
}

/// The person who does something in the present request. Routes that change something are open to people who have logged
/// in, so the name "unknown" is a fault.
pub fn author() -> Person {
    person().unwrap_or_else(|| Person { name: "unknown".to_owned(), login: Login::Shared })
}
