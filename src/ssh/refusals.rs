//! Why a server refused to open a channel, in its words.

use std::collections::VecDeque;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;

/// Texts of refused opens: russh tells the opener the reason's number and the handler the text.
#[derive(Default)]
pub(super) struct Refusals {
    texts: Mutex<VecDeque<(u32, String)>>,
    added: Notify,
}

impl Refusals {
    pub(super) fn add(&self, code: u32, text: &str) {
        let mut texts = self.texts.lock();
        if texts.len() < 64 {
            texts.push_back((code, text.to_owned()));
        }
        drop(texts);
        self.added.notify_waiters();
    }

    fn find(&self, code: u32) -> Option<String> {
        let mut texts = self.texts.lock();
        let at = texts.iter().position(|(c, _)| *c == code)?;
        texts.remove(at).map(|(_, text)| text)
    }

    /// The oldest text for `code`. The handler is told right after the opener, so a moment is waited for it.
    pub(super) async fn take(&self, code: u32) -> String {
        let found = async {
            loop {
                let added = self.added.notified();
                if let Some(text) = self.find(code) {
                    return text;
                }
                added.await;
            }
        };
        tokio::time::timeout(Duration::from_secs(1), found).await.unwrap_or_default()
    }
}
