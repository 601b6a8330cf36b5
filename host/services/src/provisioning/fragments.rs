//! A tenant as Asterisk reads it: the text of its four fragments, for Asterisk 22.

use std::fmt::Write as _;
use std::net::IpAddr;

use super::tenant::{Outbound, Queue, SipTransport, TenantFile, Trunk};

/// The channel variable that a host sets before it sends a call back to the dialplan, so that the tenant's fallback
/// takes it: a host that drains refuses calls this way. Any value but the empty one counts.
pub const FALLBACK_VARIABLE: &str = "VOXTRA_REFUSED";

/// ISDN's "no circuit available" (Q.850 cause 34): SIP 503, on which a provider tries elsewhere.
const NO_CIRCUIT: u32 = 34;

/// ISDN's "user busy" (Q.850 cause 17): SIP 486.
const BUSY: u32 = 17;

/// Seconds that a call out may ring.
const RING_S: u32 = 60;

/// A tenant's fragments. `Debug` does not show them: they hold passwords.
#[derive(Clone, PartialEq, Eq)]
pub struct Fragments {
    /// `ari_SLUG.conf`: the ARI user `voxtra-SLUG`.
    pub ari: String,
    /// `pjsip_SLUG.conf`: the trunk's endpoint and what belongs to it. `None` without a trunk.
    pub pjsip: Option<String>,
    /// `extensions_SLUG.conf`: contexts `voxtra-SLUG-in`, `-queue` with a queue, `-out` with outbound calls.
    pub extensions: String,
    /// `queues_SLUG.conf`: the queue `voxtra-SLUG`. `None` without one.
    pub queues: Option<String>,
}

impl std::fmt::Debug for Fragments {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fragments").finish_non_exhaustive()
    }
}

impl Fragments {
    /// Writes them out. `ari_password` is the generated one: letters and digits only.
    pub(super) fn of(tenant: &TenantFile, ari_password: &str) -> Self {
        let top = header(&tenant.slug);
        let own = format!("voxtra-{}", tenant.slug);
        Self {
            ari: format!(
                "{top}[{own}]\ntype = user\nread_only = no\npassword_format = plain\npassword = {ari_password}\n"
            ),
            pjsip: tenant.trunk.as_ref().map(|trunk| top.clone() + &pjsip(&own, trunk, &tenant.dids)),
            extensions: top.clone() + &extensions(&own, tenant),
            queues: tenant.queue.as_ref().map(|queue| top + &queues(&own, queue)),
        }
    }
}

/// The first line of every file of a tenant, by which it is known again.
pub(super) fn header(slug: &str) -> String {
    format!("; Written by voxtra for the tenant {slug}; changes are lost.\n")
}

fn pjsip(own: &str, trunk: &Trunk, dids: &[String]) -> String {
    let uri_host = match trunk.host.parse::<IpAddr>() {
        Ok(IpAddr::V6(address)) => format!("[{address}]"),
        _ => trunk.host.clone(),
    };
    // A semicolon begins a comment unless it is escaped.
    let parameter = match trunk.transport {
        SipTransport::Udp => "",
        SipTransport::Tcp => "\\;transport=tcp",
        SipTransport::Tls => "\\;transport=tls",
    };
    let server = format!("sip:{uri_host}:{}{parameter}", trunk.port);
    let mut text = format!(
        "[{own}]\ntype = endpoint\ncontext = {own}-in\ndisallow = all\nallow = {}\naors = {own}-aor\n\
         direct_media = no\nrtp_symmetric = yes\nforce_rport = yes\nrewrite_contact = yes\ndtmf_mode = auto\n",
        trunk.codecs.join(",")
    );
    option(&mut text, "transport", trunk.transport_name.as_deref());
    option(&mut text, "from_user", trunk.from_user.as_deref());
    option(&mut text, "from_domain", trunk.from_domain.as_deref());
    if trunk.username.is_some() {
        push(&mut text, format_args!("outbound_auth = {own}-auth\n"));
    }
    push(&mut text, format_args!("\n[{own}-aor]\ntype = aor\ncontact = {server}\nqualify_frequency = 60\n"));
    if let Some(username) = &trunk.username {
        push(&mut text, format_args!("\n[{own}-auth]\ntype = auth\nauth_type = userpass\nusername = {username}\n"));
        option(&mut text, "password", trunk.password.as_deref());
        if trunk.register {
            push(
                &mut text,
                format_args!(
                    "\n[{own}-registration]\ntype = registration\nserver_uri = {server}\n\
                     client_uri = sip:{username}@{uri_host}:{}{parameter}\noutbound_auth = {own}-auth\n\
                     contact_user = {}\nretry_interval = 60\nforbidden_retry_interval = 300\nmax_retries = 10000\n",
                    trunk.port,
                    dids.first().unwrap_or(username)
                ),
            );
            option(&mut text, "transport", trunk.transport_name.as_deref());
        }
    }
    push(&mut text, format_args!("\n[{own}-identify]\ntype = identify\nendpoint = {own}\n"));
    let from = if trunk.matches.is_empty() { std::slice::from_ref(&trunk.host) } else { &trunk.matches };
    from.iter().for_each(|from| push(&mut text, format_args!("match = {from}\n")));
    text
}

fn extensions(own: &str, tenant: &TenantFile) -> String {
    let mut text = format!("[{own}-in]\n");
    for did in &tenant.dids {
        push(&mut text, format_args!("exten => {did},1,NoOp({own})\n"));
        limit(&mut text, tenant);
        // Stasis() says FAILED when nobody has registered the application.
        push(
            &mut text,
            format_args!(
                " same => n,Stasis({},{did})\n same => n,GotoIf($[\"${{STASISSTATUS}}\" != \"SUCCESS\"]?fallback)\n \
                 same => n,GotoIf($[${{LEN(${{{FALLBACK_VARIABLE}}})}} > 0]?fallback)\n same => n,Hangup()\n",
                tenant.app
            ),
        );
        match &tenant.fallback {
            Some(to) => {
                let extension = to.extension.as_deref().unwrap_or("${EXTEN}");
                push(&mut text, format_args!(" same => n(fallback),Goto({},{extension},1)\n", to.context));
            }
            None => push(&mut text, format_args!(" same => n(fallback),Hangup({NO_CIRCUIT})\n")),
        }
        full(&mut text, tenant);
    }
    if let Some(queue) = &tenant.queue {
        // Whatever the number: a call continues here under its own.
        push(
            &mut text,
            format_args!(
                "\n[{own}-queue]\nexten => s,1,Queue({own},,,,{})\n same => n,Hangup()\n\
                 exten => _X!,1,Goto(s,1)\nexten => _+X!,1,Goto(s,1)\n",
                queue.wait_limit_s
            ),
        );
    }
    if let Some(outbound) = &tenant.outbound {
        push(&mut text, format_args!("\n[{own}-out]\n"));
        outbound.allowed.iter().for_each(|pattern| call_out(&mut text, own, tenant, outbound, pattern));
    }
    text
}

fn call_out(text: &mut String, own: &str, tenant: &TenantFile, outbound: &Outbound, pattern: &str) {
    push(text, format_args!("exten => _{pattern},1,NoOp({own})\n"));
    limit(text, tenant);
    if let Some(number) = &outbound.caller_id {
        push(text, format_args!(" same => n,Set(CALLERID(num)={number})\n"));
    }
    // A pattern that ends in '.' also takes '@' and '&', which Dial would read as more to call.
    push(
        text,
        format_args!(
            " same => n,Dial(PJSIP/${{FILTER(+0-9,${{EXTEN}})}}@{own},{RING_S})\n same => n,Hangup(${{HANGUPCAUSE}})\n"
        ),
    );
    full(text, tenant);
}

/// The channel counts itself before it looks: two at once can both be refused, never both be let in.
fn limit(text: &mut String, tenant: &TenantFile) {
    if let Some(most) = tenant.max_channels {
        let slug = &tenant.slug;
        push(
            text,
            format_args!(
                " same => n,Set(GROUP(voxtra)={slug})\n \
                 same => n,GotoIf($[${{GROUP_COUNT({slug}@voxtra)}} > {most}]?full)\n"
            ),
        );
    }
}

fn full(text: &mut String, tenant: &TenantFile) {
    if tenant.max_channels.is_some() {
        push(text, format_args!(" same => n(full),Hangup({BUSY})\n"));
    }
}

fn queues(own: &str, queue: &Queue) -> String {
    let mut text = format!(
        "[{own}]\nstrategy = {}\ntimeout = {}\nmusicclass = {}\njoinempty = yes\nringinuse = no\n",
        queue.strategy.as_str(),
        queue.timeout_s,
        queue.music_class
    );
    queue.members.iter().for_each(|member| push(&mut text, format_args!("member => {member}\n")));
    text
}

fn option(text: &mut String, key: &str, value: Option<&str>) {
    if let Some(value) = value {
        push(text, format_args!("{key} = {value}\n"));
    }
}

fn push(text: &mut String, line: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = text.write_fmt(line);
}
