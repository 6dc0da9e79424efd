//! The stores of a configuration, taken over from the one before where their settings did not change.

use std::sync::Arc;

use portcullis_config::Redis;

use super::settings::Settings;
use super::store::Store;

/// Every `[redis.NAME]`, in the order of the configuration.
#[derive(Debug, Clone, Default)]
pub struct Stores(Vec<Arc<Store>>);

impl Stores {
    /// The configured ones; connections of `old` stay where nothing changed. None is looked for yet.
    pub fn new(configured: &[Redis], old: Option<&Self>) -> Self {
        let store = |redis: &Redis| {
            let settings = Settings::from(redis);
            let mut known = old.into_iter().flat_map(Self::iter);
            match known.find(|store| *store.settings() == settings) {
                Some(store) => Arc::clone(store),
                None => Store::new(settings),
            }
        };
        Self(configured.iter().map(store).collect())
    }

    /// The store at this place of the configuration.
    pub fn get(&self, place: usize) -> Option<&Arc<Store>> {
        self.0.get(place)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Store>> {
        self.0.iter()
    }
}
