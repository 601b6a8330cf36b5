//! The plain echo server that the host is measured beside: it reads and writes back, and knows nothing else.

use anyhow::Result;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::echo::announce;

/// Serves until it is killed. One thread: the cheapest way for so little work.
pub(crate) fn serve_echo() -> Result<()> {
    let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    tokio.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        announce(listener.local_addr()?);
        loop {
            let (connection, _) = listener.accept().await?;
            connection.set_nodelay(true)?;
            tokio::spawn(echo(connection));
        }
    })
}

async fn echo(mut connection: TcpStream) {
    let mut buffer = [0; 4096];
    while let Ok(read) = connection.read(&mut buffer).await {
        let Some(bytes) = buffer.get(..read).filter(|b| !b.is_empty()) else { return };
        if connection.write_all(bytes).await.is_err() {
            return;
        }
    }
}
