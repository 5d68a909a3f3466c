//! Whether somebody is being sent a file.

use std::sync::{Arc, Mutex, PoisonError};

/// Who is being sent a file that takes a while. Clones are the same.
#[derive(Clone)]
pub struct Readers(Arc<Shared>);

struct Shared {
    count: Mutex<usize>,
    changed: Box<dyn Fn(bool) + Send + Sync>,
}

/// One of them, as long as it is not dropped.
pub struct Reader(Readers);

impl Readers {
    /// `changed` is told when there is somebody, and when there is nobody any more. It must not take long.
    pub fn new(changed: impl Fn(bool) + Send + Sync + 'static) -> Self {
        Self(Arc::new(Shared { count: Mutex::new(0), changed: Box::new(changed) }))
    }

    pub(super) fn enter(&self) -> Reader {
        self.count(1);
        Reader(self.clone())
    }

    fn count(&self, more: isize) {
        let mut count = self.0.count.lock().unwrap_or_else(PoisonError::into_inner);
        let before = *count;
        *count = before.saturating_add_signed(more);
        if (before == 0) != (*count == 0) {
            // Under the lock: the last word that is heard is what holds.
            (self.0.changed)(*count > 0);
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.0.count(-1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_and_the_last_are_told() {
        let told = Arc::new(Mutex::new(Vec::new()));
        let hears = told.clone();
        let readers = Readers::new(move |is_any| hears.lock().unwrap().push(is_any));
        let (first, second) = (readers.enter(), readers.clone().enter());
        drop(first);
        assert_eq!(*told.lock().unwrap(), [true]);
        drop(second);
        drop(readers.enter());
        assert_eq!(*told.lock().unwrap(), [true, false, true, false]);
    }
}
