//! Notices panics of tasks, whose results nobody awaits.

use std::{cell::RefCell, panic, sync::Once};

thread_local! {
    /// The first panic of this thread since [`observe`] began.
    static FIRST: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Runs `work` on this thread. Returns its result, and the first panic in it, with its place. All tasks of a runtime of
/// one thread are part of `work`.
pub fn observe<T>(work: impl FnOnce() -> T) -> (T, Option<String>) {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            FIRST.with_borrow_mut(|first| {
                first.get_or_insert_with(|| info.to_string());
            });
            before(info);
        }));
    });
    FIRST.take();
    let result = work();
    (result, FIRST.take())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::spawn_detached;

    #[test]
    fn a_panic_of_a_task_is_noticed() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let run = |panics: bool| {
            observe(|| {
                runtime.block_on(async move {
                    spawn_detached(async move { assert!(!panics, "as the test wants") });
                    tokio::task::yield_now().await;
                });
            })
        };
        assert!(run(true).1.unwrap().contains("as the test wants"));
        assert_eq!(run(false).1, None);
    }
}
