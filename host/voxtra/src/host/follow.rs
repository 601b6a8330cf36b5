//! What of `voxtra.yaml` counts without a restart: secrets, the files that hold them, and webhooks, so that a tenant that comes
//! later can have its own and a value can be replaced. The files are looked at all the time. Everything else in
//! `voxtra.yaml` counts from the next start.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::sleep;
use voxtra_services::webhooks::{WebhookSink, WebhookTarget};

use super::egress::HandlersHttp;
use super::services;
use crate::config::{Config, Lookup, process_env};

/// A change counts after two of these: at the second look the files have to be as at the first.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// What shows that a file is another than before: where it is on the disk, how long, and when it was changed. `None`: it is
/// not there, or nobody may look.
type Stamp = Option<(u64, u64, u64, i64, i64)>;

/// Keeps handlers' secrets and the webhooks as the configuration says, as long as the host runs. `config` is what it began
/// with.
pub(crate) async fn follow(config: Config, http: Arc<HandlersHttp>, webhooks: Arc<WebhookSink>) {
    let Some(mut follower) = Follower::new(config) else { return };
    loop {
        sleep(LOOK_EVERY).await;
        let http = Arc::clone(&http);
        let looked = spawn_blocking(move || {
            let looked = follower.look(&http, &process_env);
            (follower, looked)
        });
        // The host is stopping.
        let Ok((back, looked)) = looked.await else { return };
        follower = back;
        looked.faults.iter().for_each(|fault| tracing::warn!("{fault}; what was there before goes on"));
        if let Some(targets) = looked.targets
            && let Err(error) = webhooks.set_targets(targets).await
        {
            tracing::error!(%error, "the webhooks' outbox");
        }
    }
}

/// What there is to be told and done.
#[derive(Debug, Default)]
struct Looked {
    /// Newly wrong, a sentence each.
    faults: Vec<String>,
    /// The webhooks, when the file has been read again.
    targets: Option<Vec<WebhookTarget>>,
}

struct Follower {
    file: PathBuf,
    /// As it was read last.
    config: Config,
    /// How its files looked then.
    read: Vec<Stamp>,
    /// How they looked last.
    seen: Vec<Stamp>,
    /// What is wrong with them, told already.
    faults: BTreeSet<String>,
}

impl Follower {
    /// `None`: there is no file, and so there are no secrets.
    fn new(config: Config) -> Option<Self> {
        let file = config.file.clone()?;
        let read = stamps(&file, &config);
        Some(Self { file, seen: read.clone(), read, config, faults: BTreeSet::new() })
    }

    /// Looks whether there is something new and has its secrets count. Blocks.
    fn look(&mut self, http: &HandlersHttp, lookup: Lookup<'_>) -> Looked {
        let now = stamps(&self.file, &self.config);
        let has_settled = now == self.seen;
        self.seen = now;
        // What is wrong is tried again: a file's mode may be all that was.
        if !has_settled || (self.seen == self.read && self.faults.is_empty()) {
            return Looked::default();
        }
        let mut targets = None;
        let faults: BTreeSet<String> = match Config::load(&self.file, lookup) {
            Ok(config) => {
                // Before they are read: a change in between is one that is seen at the next look.
                let of_file = self.seen.first().copied();
                self.read = of_file.into_iter().chain(stamps(&self.file, &config).into_iter().skip(1)).collect();
                self.seen.clone_from(&self.read);
                self.config = config;
                let mut faults = http.reread(&self.config);
                match services::targets(&self.config) {
                    Ok(all) => targets = Some(all),
                    Err(error) => faults.push(error.to_string()),
                }
                faults.into_iter().collect()
            }
            Err(error) => [error.to_string()].into(),
        };
        let new = faults.difference(&self.faults).cloned().collect();
        self.faults = faults;
        Looked { faults: new, targets }
    }
}

/// The file itself, and then those that its secrets name, in order.
fn stamps(file: &Path, config: &Config) -> Vec<Stamp> {
    let tenants = config.tenants();
    let secrets = tenants.iter().flat_map(|(_, tenant)| tenant.secrets.values());
    let named = secrets.filter(|secret| !secret.file.is_empty()).map(|secret| stamp(&config.folder(&secret.file)));
    std::iter::once(stamp(file)).chain(named).collect()
}

fn stamp(path: &Path) -> Stamp {
    let of = |found: fs::Metadata| (found.dev(), found.ino(), found.len(), found.ctime(), found.ctime_nsec());
    fs::metadata(path).ok().map(of)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use tokio::runtime::Handle;
    use voxtra_core::HandlerName;
    use voxtra_core::TenantId;
    use voxtra_core::http::{Http, HttpOut, HttpRequest, Reason};
    use voxtra_directory::{Directory, HostCeiling, Scanner};
    use voxtra_egress::Secrets;

    use super::*;

    /// A configuration and a plugin directory that go with the test.
    struct Files(PathBuf);

    impl Files {
        fn new() -> Self {
            Self(std::env::temp_dir().join(format!("voxtra-secrets-{}", uuid::Uuid::new_v4())))
        }

        fn put(&self, name: &str, text: &str) {
            let path = self.0.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }

        fn config(&self) -> Config {
            Config::load(&self.0.join("voxtra.yaml"), &|_| None).unwrap()
        }

        fn directory(&self) -> Arc<Directory> {
            let scan =
                Scanner::new(self.0.join("plugins"), HostCeiling::default()).scan(&Directory::default()).unwrap();
            assert!(scan.problems.is_empty(), "{:?}", scan.problems);
            Arc::new(scan.directory)
        }

        fn tenant(&self, name: &str) {
            let text = "secrets = [\"crm\"]\n[capabilities.http]\nallow = [\"http://10.0.0.1\"]\n";
            self.put(&format!("plugins/{name}/tenant.toml"), text);
            self.put(&format!("plugins/{name}/a.wasm"), "a");
        }
    }

    impl Drop for Files {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn secret(tenant: &str, how: &str) -> String {
        format!("  {tenant}: {{secrets: {{crm: {{{how}, servers: ['http://10.0.0.1']}}}}}}\n")
    }

    fn of_call(http: &HandlersHttp, tenant: &str) -> Arc<dyn Http> {
        http.of_call(&TenantId::new(tenant)).of_handler(&HandlerName::new("a"))
    }

    /// Whether a call's tenant has the secret: a request with it is refused for its address then, which is not public.
    async fn has_secret(call: &dyn Http) -> bool {
        let mut request = HttpRequest::new("GET", "http://10.0.0.1/");
        request.headers.push(("authorization".to_owned(), "Bearer {{secret:crm}}".into()));
        match call.send(request).await.unwrap_err().reason() {
            Reason::Address => true,
            Reason::Secret => false,
            other => unreachable!("{other:?}"),
        }
    }

    /// Two looks: what is changed between them has not settled.
    fn look(follower: &mut Follower, http: &HandlersHttp) -> Vec<String> {
        assert!(look_once(follower, http).0.is_empty());
        look_once(follower, http).0
    }

    /// What is newly wrong, and the webhooks' names.
    fn look_once(follower: &mut Follower, http: &HandlersHttp) -> (Vec<String>, Option<Vec<String>>) {
        let Looked { faults, targets } = follower.look(http, &|_| None);
        (faults, targets.map(|all| all.into_iter().map(|target| target.name).collect()))
    }

    #[tokio::test]
    async fn webhooks_are_read_again_and_a_wrong_one_leaves_those_that_were() {
        let files = Files::new();
        files.put("voxtra.yaml", "tenants:\n  acme: {}\n");
        let http = HandlersHttp::new(&files.config(), &Handle::current()).unwrap();
        let mut follower = Follower::new(files.config()).unwrap();
        assert_eq!(look_once(&mut follower, &http), (vec![], None), "nothing has changed");
        files.put("voxtra.yaml", "webhooks: [{name: acme, tenant: acme, url: 'https://acme.example/'}]\n");
        assert_eq!(look_once(&mut follower, &http), (vec![], None), "somebody may be writing it");
        assert_eq!(look_once(&mut follower, &http), (vec![], Some(vec!["acme".to_owned()])));
        assert_eq!(look_once(&mut follower, &http), (vec![], None), "once");
        files.put("voxtra.yaml", "webhooks: [{name: acme, url: 'nonsense'}]\n");
        assert_eq!(look_once(&mut follower, &http), (vec![], None));
        let (faults, targets) = look_once(&mut follower, &http);
        assert!(targets.is_none() && faults.len() == 1 && faults[0].contains("voxtra.yaml:1"), "{faults:?}");
    }

    #[tokio::test]
    async fn tenants_that_come_later_get_their_secrets_without_a_restart() {
        let files = Files::new();
        files.put("voxtra.yaml", "tenants:\n  acme: {}\n");
        files.tenant("acme");
        let http = HandlersHttp::new(&files.config(), &Handle::current()).unwrap();
        let mut follower = Follower::new(files.config()).unwrap();
        http.set(&files.directory());
        let acme = of_call(&http, "acme");
        assert!(!has_secret(&*acme).await);
        // The values first, and then the tenant, and the other way round; also for a call that is up.
        let both =
            format!("tenants:\n{}{}", secret("acme", "value: long-enough-1"), secret("beta", "file: beta.token"));
        files.put("beta.token", "long-enough-2\n");
        files.put("voxtra.yaml", &both);
        assert_eq!(look(&mut follower, &http), Vec::<String>::new());
        assert!(has_secret(&*acme).await);
        files.tenant("beta");
        http.set(&files.directory());
        assert!(has_secret(&*of_call(&http, "beta")).await);
        // What is taken away is gone.
        files.put("voxtra.yaml", &format!("tenants:\n{}", secret("beta", "file: beta.token")));
        assert_eq!(look(&mut follower, &http), Vec::<String>::new());
        assert!(!has_secret(&*acme).await && has_secret(&*of_call(&http, "beta")).await);
    }

    #[tokio::test]
    async fn a_secrets_file_is_read_again_and_a_bad_one_is_told_once_and_touches_nobody_else() {
        let files = Files::new();
        files.tenant("acme");
        files.tenant("beta");
        files.put("acme.token", "long-enough-1");
        files.put("voxtra.yaml", &format!("tenants:\n{}  beta: {{}}\n", secret("acme", "file: acme.token")));
        let http = HandlersHttp::new(&files.config(), &Handle::current()).unwrap();
        let mut follower = Follower::new(files.config()).unwrap();
        http.set(&files.directory());
        let (acme, beta) = (of_call(&http, "acme"), of_call(&http, "beta"));
        let has_value = |value: &str| {
            let mut wanted = Secrets::new();
            wanted.insert("crm", value, vec!["http://10.0.0.1".parse().unwrap()]).unwrap();
            http.secrets_of(&TenantId::new("acme")) == wanted
        };
        assert!(has_value("long-enough-1"));
        files.put("acme.token", "another-value-2");
        assert_eq!(look(&mut follower, &http), Vec::<String>::new());
        assert!(has_value("another-value-2") && has_secret(&*acme).await);
        // Too short, and the file of the other tenant is good.
        files.put("acme.token", "short");
        files.put("beta.token", "long-enough-2");
        let both = format!("tenants:\n{}{}", secret("acme", "file: acme.token"), secret("beta", "file: beta.token"));
        files.put("voxtra.yaml", &both);
        let faults = look(&mut follower, &http);
        assert!(faults.len() == 1 && faults[0].contains("voxtra.yaml:2"), "{faults:?}");
        assert!(has_value("another-value-2") && has_secret(&*acme).await && has_secret(&*beta).await);
        assert_eq!(look(&mut follower, &http), Vec::<String>::new(), "it is told once");
        fs::write(files.0.join("voxtra.yaml"), "nonsense: [").unwrap();
        assert_eq!(look(&mut follower, &http).len(), 1);
        assert!(has_secret(&*acme).await && has_secret(&*beta).await);
    }
}
