//! Where the host keeps things, and the PBXs that it serves.

use std::path::{Component, Path, PathBuf};

use super::{Ari, Config, ConfigError, Lookup, Secret, Tenant};

/// The first Asterisk's name.
pub(crate) const FIRST_PBX: &str = "asterisk";

/// The database's file in the state folder.
pub(crate) const DATABASE: &str = "voxtra.db";

/// The operator's socket there.
pub(crate) const SOCKET: &str = "admin.sock";

/// A socket's address has this many bytes on Linux, its end included.
const SOCKET_PATH_MAX_BYTES: usize = 107;

impl Config {
    /// Where the host keeps what has to outlive it: as the file says, else in the user's state folder, a folder of its own
    /// for each configuration (without a file: for each PBX and application), so that several hosts do not meet.
    pub(crate) fn state_dir(&self, lookup: Lookup<'_>) -> PathBuf {
        if let Some(dir) = self.root.state_dir.as_deref().filter(|dir| !dir.is_empty()) {
            return self.beside_file(dir);
        }
        // A user without a home, such as a container's.
        let all = Self::all_states(lookup).unwrap_or_else(|| PathBuf::from("voxtra-state"));
        all.join(self.own_name())
    }

    /// The state folder and the plugin directory are not one within the other: every folder of the latter is a tenant, and
    /// in the former nobody but the host puts anything.
    pub(crate) fn check_apart(&self, plugins: &Path, lookup: Lookup<'_>) -> Result<(), ConfigError> {
        let (state, plugins) = (real(&self.state_dir(lookup)), real(plugins));
        let (shown, plugins_shown) = (state.display(), plugins.display());
        let problem = if state == plugins {
            format!("the state folder {shown} is the plugin directory as well; name another")
        } else if state.starts_with(&plugins) {
            format!("the state folder {shown} is in the plugin directory {plugins_shown}; name another outside of it")
        } else if plugins.starts_with(&state) {
            format!("the plugin directory {plugins_shown} is in the state folder {shown}; name another outside of it")
        } else {
            return Ok(());
        };
        Err(self.error_at(&["state_dir"], problem))
    }

    /// Where the folders of all this user's hosts are that have no `state_dir`.
    pub(crate) fn all_states(lookup: Lookup<'_>) -> Option<PathBuf> {
        let set = |name: &str| lookup(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let base = set("XDG_STATE_HOME").or_else(|| set("HOME").map(|home| home.join(".local/state")))?;
        Some(base.join("voxtra"))
    }

    /// The application, and what tells this configuration from others.
    fn own_name(&self) -> String {
        let file = self.file.as_ref().map(|file| std::path::absolute(file).unwrap_or_else(|_| file.clone()));
        let what = match file {
            Some(file) => file.display().to_string(),
            None => self.asterisk.base_url.clone(),
        };
        // FNV-1a: the same on every machine and in every version; it only has to tell some few apart.
        let hash = what
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        let plain = |c: char| if c.is_ascii_alphanumeric() || c == '-' || c == '_' { c } else { '_' };
        let app: String = self.asterisk.app.chars().take(32).map(plain).collect();
        format!("{app}-{:08x}", hash & 0xffff_ffff)
    }

    /// The database of the store, the webhooks' outbox and the batches.
    pub(crate) fn database(&self, lookup: Lookup<'_>) -> PathBuf {
        self.state_dir(lookup).join(DATABASE)
    }

    /// The operator's socket.
    pub(crate) fn admin_socket(&self, lookup: Lookup<'_>) -> Result<PathBuf, ConfigError> {
        let path = match self.root.admin.socket.as_str() {
            "" => self.state_dir(lookup).join(SOCKET),
            socket => self.beside_file(socket),
        };
        if path.as_os_str().len() > SOCKET_PATH_MAX_BYTES {
            let problem = format!(
                "the socket's path {} is longer than {SOCKET_PATH_MAX_BYTES} bytes; write a shorter one",
                path.display()
            );
            return Err(self.error_at(&["admin", "socket"], problem));
        }
        Ok(path)
    }

    /// Where the unfinished recordings are.
    pub(crate) fn recording_spool(&self, lookup: Lookup<'_>) -> PathBuf {
        match self.root.recordings.spool.as_str() {
            "" => self.state_dir(lookup).join("spool"),
            dir => self.beside_file(dir),
        }
    }

    /// A folder that the file names.
    pub(crate) fn folder(&self, written: &str) -> PathBuf {
        self.beside_file(written)
    }

    /// Every Asterisk by its name, the first one first.
    pub(crate) fn pbxs(&self) -> Vec<(String, Ari)> {
        let mut all = vec![(FIRST_PBX.to_owned(), self.asterisk.clone())];
        for (name, written) in &self.root.telephony.more {
            let or_first = |written: &Option<String>, first: &str| written.clone().unwrap_or_else(|| first.to_owned());
            all.push((
                name.clone(),
                Ari {
                    base_url: or_first(&written.base_url, &self.asterisk.base_url),
                    username: or_first(&written.username, &self.asterisk.username),
                    password: written.password.clone().unwrap_or_else(|| Secret(self.asterisk.password.0.clone())),
                    app: or_first(&written.app_name, &self.asterisk.app),
                },
            ));
        }
        all
    }

    /// The tenants that a PBX serves.
    pub(crate) fn tenants_of(&self, pbx: &str) -> Vec<(String, Tenant)> {
        let mut tenants = self.tenants();
        tenants.retain(|(_, tenant)| tenant.pbx.is_empty() || tenant.pbx.iter().any(|name| name == pbx));
        tenants
    }
}

/// The place without links, also of a folder that is not there yet.
fn real(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let there = path.ancestors().find_map(|above| Some((std::fs::canonicalize(above).ok()?, above)));
    let Some((mut place, above)) = there else { return path };
    for part in path.strip_prefix(above).unwrap_or(Path::new("")).components() {
        match part {
            Component::ParentDir => {
                place.pop();
            }
            part => place.push(part),
        }
    }
    place
}
