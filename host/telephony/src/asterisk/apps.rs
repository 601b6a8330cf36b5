//! The applications that are served, which change while calls are up: tenants come and go.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;
use voxtra_ari::{AriClient, AriConfig};

use super::adapter::Core;
use super::app::App;
use super::error::AsteriskError;
use super::options::{AppOptions, AsteriskOptions};

/// How soon an application that is taken leave of is looked at again.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// See the module.
pub(super) struct Apps {
    core: Arc<Core>,
    list: Mutex<Vec<Arc<App>>>,
    /// Counts changes, for whoever serves them.
    changed: watch::Sender<u64>,
}

impl Apps {
    /// Those that the operator's options name.
    pub(super) fn new(core: Arc<Core>) -> Result<Arc<Self>, AsteriskError> {
        let apps = Self { core, list: Mutex::default(), changed: watch::Sender::new(0) };
        let options = &apps.core.options;
        apps.set(options.apps.iter().map(|app| (app.clone(), options.of_app(app).clone())).collect())?;
        Ok(Arc::new(apps))
    }

    /// From now on these, and no others, with these options. Nothing changes when one of them cannot be served.
    pub(super) fn set(&self, wanted: Vec<(String, AppOptions)>) -> Result<(), AsteriskError> {
        for (index, (app, _)) in wanted.iter().enumerate() {
            if wanted.iter().take(index).any(|(other, _)| other == app) {
                let why = format!("the Stasis application {app:?} is given twice; name each once");
                return Err(AsteriskError::Options(why));
            }
        }
        let mut list = self.list();
        let mut made = Vec::new();
        for (name, options) in wanted.iter().filter(|(name, _)| !list.iter().any(|app| app.name == *name)) {
            let client = client(&self.core.options, name)?;
            made.push(App::new(Arc::clone(&self.core), client, options.clone()));
        }
        for app in list.iter() {
            let options = wanted.iter().find(|(name, _)| *name == app.name).map(|(_, options)| options.clone());
            app.set_leaving(options.is_none());
            options.into_iter().for_each(|options| app.set_options(options));
        }
        list.extend(made);
        self.changed.send_modify(|count| *count = count.wrapping_add(1));
        Ok(())
    }

    /// One that is served and not taken leave of.
    pub(super) fn get(&self, name: &str) -> Option<Arc<App>> {
        self.list().iter().find(|app| app.name == name && !app.is_leaving()).cloned()
    }

    /// Those that are served and not taken leave of.
    pub(super) fn all(&self) -> Vec<Arc<App>> {
        self.list().iter().filter(|app| !app.is_leaving()).cloned().collect()
    }

    /// Serves whatever there is until `stop` is true.
    pub(super) async fn serve(self: Arc<Self>, stop: watch::Receiver<bool>) {
        let (mut changes, mut stopped) = (self.changed.subscribe(), stop.clone());
        let mut tasks = JoinSet::new();
        loop {
            changes.borrow_and_update();
            let new: Vec<_> = self.list().iter().filter(|app| app.begins()).cloned().collect();
            for app in new {
                tasks.spawn(serve_one(Arc::clone(&self), app, stop.clone()));
            }
            tokio::select! {
                _ = stopped.wait_for(|stop| *stop) => break,
                // Whoever changes them lives as long as we do.
                _ = changes.changed() => {}
                Some(_) = tasks.join_next(), if !tasks.is_empty() => {}
            }
        }
        while tasks.join_next().await.is_some() {}
    }

    /// Waits until an application is taken leave of and nothing of its calls is left; then it is gone from the list.
    async fn until_gone(&self, app: &Arc<App>) {
        loop {
            app.until_leaving().await;
            if self.close_if_idle(app) {
                return;
            }
            sleep(LOOK_EVERY).await;
        }
    }

    fn close_if_idle(&self, app: &Arc<App>) -> bool {
        // With the list locked: one that is wanted again at this moment either stays or is made anew.
        let mut list = self.list();
        if !app.is_leaving() || !app.close_if_idle() {
            return false;
        }
        list.retain(|other| !Arc::ptr_eq(other, app));
        true
    }

    fn list(&self) -> MutexGuard<'_, Vec<Arc<App>>> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn serve_one(apps: Arc<Apps>, app: Arc<App>, stop: watch::Receiver<bool>) {
    tokio::select! {
        () = Arc::clone(&app).serve(stop) => {}
        // The events connection is closed with the future above.
        () = apps.until_gone(&app) => {
            // Unless it is served anew by now.
            if apps.get(&app.name).is_none() {
                apps.core.connected(&app.name, false);
            }
            tracing::info!(app = app.name, "the application is not served any more");
        }
    }
}

fn client(options: &AsteriskOptions, app: &str) -> Result<AriClient, AsteriskError> {
    let mut config = AriConfig::new(&options.base_url, &options.username, &options.password, app);
    config.request_timeout = options.limits.request;
    config.websocket_url = options.websocket_url.clone();
    Ok(AriClient::new(config)?)
}
