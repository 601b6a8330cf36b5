//! The configuration of a private Asterisk: only what the tests use, everything on 127.0.0.1.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use super::ports::Ports;
use super::tree::Tree;
use super::{AsteriskOptions, PASSWORD, USER};

/// What is loaded: prefixes of module names. Nothing that wants a database, a service or another port.
const MODULES: [&str; 65] = [
    "app_amd",
    "app_audiosocket",
    "app_bridgewait",
    "app_dial",
    "app_echo",
    "app_exec",
    "app_mixmonitor",
    "app_playback",
    "app_playtones",
    "app_queue",
    "app_read.",
    "app_senddtmf",
    "app_stack",
    "app_stasis.",
    "app_transfer",
    "app_userevent",
    "app_verbose",
    "bridge_builtin_features",
    "bridge_holding",
    "bridge_native_rtp",
    "bridge_simple",
    "bridge_softmix",
    "chan_audiosocket",
    "chan_bridge_media",
    "chan_pjsip",
    "chan_rtp",
    "chan_websocket",
    "codec_a_mu",
    "codec_alaw",
    "codec_g722",
    "codec_gsm",
    "codec_resample",
    "codec_ulaw",
    "format_gsm",
    "format_pcm",
    "format_sln",
    "format_wav.",
    "func_callerid",
    "func_channel",
    "func_cut",
    "func_dialplan",
    "func_hangupcause",
    "func_logic",
    "func_pjsip",
    "func_strings",
    "func_talkdetect",
    "func_timeout",
    "func_uuid",
    "pbx_config",
    "res_ari",
    "res_audiosocket",
    "res_crypto",
    "res_http_websocket",
    "res_musiconhold",
    "res_mutestream",
    "res_pjproject",
    "res_pjsip",
    "res_rtp_asterisk",
    "res_rtp_multicast",
    "res_sorcery_",
    "res_speech.",
    "res_srtp",
    "res_stasis",
    "res_timing_timerfd",
    "res_websocket_client",
];

/// Of those, what wants something that is not there, or only makes noise.
const NOT_MODULES: [&str; 14] = [
    "res_pjsip_config_wizard",
    "res_pjsip_geolocation",
    "res_pjsip_history",
    "res_pjsip_notify",
    "res_pjsip_outbound_registration",
    "res_pjsip_phoneprov_provider",
    "res_pjsip_publish_asterisk",
    "res_pjsip_send_to_voicemail",
    "res_pjsip_stir_shaken",
    "res_pjsip_t38",
    "res_pjsip_transport_websocket",
    "res_sorcery_realtime",
    "res_stasis_broadcast",
    "res_stasis_test",
];

/// Asked for by modules that do without.
const EMPTY: [&str; 15] = [
    "amd",
    "acl",
    "aeap",
    "ccss",
    "chan_websocket",
    "cli_aliases",
    "confbridge",
    "features",
    "geolocation",
    "pjproject",
    "queuerules",
    "res_parking",
    "sorcery",
    "udptl",
    "websocket_client",
];

/// The folders of one instance.
#[derive(Debug, Clone)]
pub(super) struct Folders {
    root: PathBuf,
}

impl Folders {
    pub(super) fn new(root: &Path) -> Self {
        Self { root: root.to_path_buf() }
    }

    pub(super) fn main_file(&self) -> PathBuf {
        self.root.join("etc/asterisk.conf")
    }

    pub(super) fn log(&self) -> PathBuf {
        self.root.join("log/messages.log")
    }

    pub(super) fn console(&self) -> PathBuf {
        self.root.join("log/console.log")
    }

    pub(super) fn spool(&self) -> PathBuf {
        self.root.join("spool")
    }

    fn file(&self, name: &str, text: &str) -> Result<()> {
        let path = self.root.join("etc").join(format!("{name}.conf"));
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    }

    fn add(&self, name: &str, lines: &str) -> Result<()> {
        let text = fs::read_to_string(self.root.join("etc").join(format!("{name}.conf"))).unwrap_or_default();
        self.file(name, &format!("{text}\n{lines}\n"))
    }
}

/// Writes everything that an Asterisk with these ports reads when it starts.
pub(super) fn write(folders: &Folders, tree: &Tree, ports: &Ports, options: &AsteriskOptions) -> Result<()> {
    let plain =
        |name: &String| !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
    ensure!(
        !options.stasis_apps.is_empty() && options.stasis_apps.iter().all(plain),
        "names of Stasis applications are letters, digits, '-' and '_', and one at least is needed: {:?}",
        options.stasis_apps
    );
    make_folders(folders, tree)?;
    folders.file("asterisk", &main_file(folders, tree))?;
    folders.file("modules", &modules(tree, options)?)?;
    folders.file("logger", "[general]\ndateformat = %F %T.%3q\n[logfiles]\nmessages.log => notice,warning,error\n")?;
    folders.file("http", &http(ports))?;
    folders.file("ari", &format!("[general]\nenabled = yes\n[{USER}]\ntype = user\npassword = {PASSWORD}\n"))?;
    folders.file("rtp", &rtp(ports))?;
    folders.file("pjsip", &pjsip(ports))?;
    folders.file("extensions", &extensions(options))?;
    folders.file("indications", INDICATIONS)?;
    folders.file("queues", QUEUES)?;
    let music = folders.root.join("data/moh");
    folders
        .file("musiconhold", &format!("[default]\nmode = files\nsort = alpha\ndirectory = {}\n", music.display()))?;
    folders.file("manager", "[general]\nenabled = no\n")?;
    folders.file("cdr", "[general]\nenable = no\n")?;
    folders.file("cel", "[general]\nenable = no\n")?;
    EMPTY.iter().try_for_each(|name| folders.file(name, ""))?;
    options.extra_config.iter().try_for_each(|(name, lines)| folders.add(name, lines))
}

fn make_folders(folders: &Folders, tree: &Tree) -> Result<()> {
    for name in [
        "etc",
        "run",
        "log",
        "lib/keys",
        "data/sounds",
        "data/agi-bin",
        "spool/recording",
        "spool/outgoing",
        "spool/monitor",
        "spool/tmp",
        "cache",
    ] {
        fs::create_dir_all(folders.root.join(name))?;
    }
    let share = tree.share();
    for name in ["documentation", "rest-api", "static-http", "moh"] {
        link(&share.join(name), &folders.root.join("data").join(name))?;
    }
    let sounds = fs::read_dir(share.join("sounds")).context("the unpacked packages hold no sounds")?;
    let mut sounds = sounds.filter_map(Result::ok).map(|entry| entry.path());
    let english = sounds.find(|path| path.file_name().is_some_and(|n| n.to_string_lossy().starts_with("en")));
    link(&english.context("the unpacked packages hold no English sounds")?, &folders.root.join("data/sounds/en"))
}

fn link(target: &Path, place: &Path) -> Result<()> {
    if target.exists() && !place.exists() {
        symlink(target, place).with_context(|| format!("cannot link {}", place.display()))?;
    }
    Ok(())
}

fn main_file(folders: &Folders, tree: &Tree) -> String {
    let (root, modules) = (folders.root.display(), tree.modules());
    format!(
        "[directories]\nastetcdir => {root}/etc\nastmoddir => {}\nastvarlibdir => {root}/lib\nastdbdir => {root}/lib\n\
         astkeydir => {root}/lib\nastdatadir => {root}/data\nastagidir => {root}/data/agi-bin\n\
         astspooldir => {root}/spool\nastrundir => {root}/run\nastlogdir => {root}/log\nastcachedir => {root}/cache\n\
         [options]\nnocolor = yes\nhideconnect = yes\nverbose = 0\n",
        modules.display()
    )
}

fn modules(tree: &Tree, options: &AsteriskOptions) -> Result<String> {
    let mut left_out = NOT_MODULES.to_vec();
    if !options.audiosocket {
        // The channel driver is what externalMedia asks for.
        left_out.extend(["chan_audiosocket", "app_audiosocket"]);
    }
    if !options.websocket_media {
        left_out.push("chan_websocket");
    }
    let entries = fs::read_dir(tree.modules()).context("the unpacked packages hold no Asterisk modules")?;
    let mut names: Vec<String> =
        entries.filter_map(Result::ok).filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.retain(|name| name.ends_with(".so"));
    names.retain(|name| MODULES.iter().any(|m| name.starts_with(m)) && !left_out.iter().any(|m| name.starts_with(m)));
    names.sort();
    let lines: String = names.iter().map(|name| format!("load = {name}\n")).collect();
    Ok(format!("[modules]\nautoload = no\n{lines}"))
}

fn http(ports: &Ports) -> String {
    // Every media WebSocket is a session; the default limit of 100 is too few for a load test.
    format!("[general]\nenabled = yes\nbindaddr = 127.0.0.1\nbindport = {}\nsessionlimit = 4000\n", ports.http())
}

fn rtp(ports: &Ports) -> String {
    let (first, last) = ports.rtp();
    format!("[general]\nrtpstart = {first}\nrtpend = {last}\nstrictrtp = no\nicesupport = no\n")
}

/// Anybody on loopback may call anything. No UPDATE is sent when a call is bridged, as SIPp takes that for an error.
fn pjsip(ports: &Ports) -> String {
    let endpoint = "type = endpoint\ncontext = from-sip\ntransport = udp\ndisallow = all\nallow = ulaw,alaw,slin\n\
                    direct_media = no\nrtp_symmetric = yes\nforce_rport = yes\nrewrite_contact = no\n\
                    dtmf_mode = auto_info\ntrust_id_inbound = yes\nsend_connected_line = no\ntone_zone = us\n";
    format!(
        "[global]\ntype = global\nuser_agent = voxtra-test-pbx\nendpoint_identifier_order = ip,anonymous\n\
         [system]\ntype = system\nthreadpool_initial_size = 8\nthreadpool_max_size = 50\n\
         [udp]\ntype = transport\nprotocol = udp\nbind = 127.0.0.1:{}\n\
         [caller]\n{endpoint}[caller-address]\ntype = identify\nendpoint = caller\nmatch = 127.0.0.0/8\n\
         [anonymous]\n{endpoint}",
        ports.sip()
    )
}

/// Calls from SIP go to the first Stasis application, but `test-NAME` to one of the known callers; a context of its own
/// leads to each application.
fn extensions(options: &AsteriskOptions) -> String {
    let mut text = String::from("[general]\nstatic = yes\nwriteprotect = yes\n\n[from-sip]\n");
    // What a context holds itself goes before what it includes.
    for name in CALLERS.lines().filter_map(|line| line.strip_prefix("exten => ")?.split(',').next()) {
        text.push_str(&format!("exten => test-{name},1,Goto(callers,{name},1)\n"));
    }
    text.push_str("include => stasis\n");
    text.push_str("\n[stasis]\n");
    let first = options.stasis_apps.first().map_or("", String::as_str);
    for pattern in PATTERNS {
        text.push_str(&format!("exten => {pattern},1,Stasis({first})\n{REFUSED} same => n,Hangup()\n"));
    }
    for app in &options.stasis_apps {
        text.push_str(&format!("\n[stasis-{app}]\n"));
        for pattern in PATTERNS {
            text.push_str(&format!("exten => {pattern},1,Stasis({app})\n{REFUSED} same => n,Hangup()\n"));
        }
        text.push_str(&format!(
            "\n[amd-{app}]\nexten => s,1,AMD()\n same => n,Stasis({app},voxtra-amd)\n same => n,Hangup()\n"
        ));
    }
    text + CALLERS
}

/// Numbers, numbers with a plus, names of two characters or more (one would be `h`, which runs at every hang-up).
const PATTERNS: [&str; 3] = ["_X!", "_+X!", "_[a-zA-Z*#]."];

/// Somebody who behaves in a known way: called from SIP as `test-NAME`, or the far end of `Local/NAME@callers`.
const CALLERS: &str = include_str!("callers.conf");

/// A call that the application has refused and sent on hears the steady tone.
const REFUSED: &str = " same => n,GotoIf($[\"${VOXTRA_REFUSED}\" = \"congestion\"]?callers,tone,1)\n";

/// One queue with one member, who answers and is heard as another tone.
const QUEUES: &str = "[support]\nstrategy = ringall\njoinempty = yes\ntimeout = 10\nmember => Local/agent@callers/n\n";

const INDICATIONS: &str = "[general]\ncountry = us\n[us]\ndescription = United States\nringcadence = 2000,4000\n\
    dial = 350+440\nbusy = 480+620/500,0/500\nring = 440+480/2000,0/4000\ncongestion = 480+620/250,0/250\n";
