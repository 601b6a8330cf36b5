//! What a guest prints: each line of its stdout and stderr becomes a line of its log. A panic's message comes this way.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use tokio::io::AsyncWrite;
use voxtra_core::verbs::LogLevel;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};

use crate::lines::Lines;

/// A longer line is logged in pieces.
const MAX_LINE_BYTES: usize = 4_096;

/// Where one of a guest's output streams goes.
#[derive(Clone)]
pub(crate) struct GuestOutput {
    lines: Arc<Lines>,
    level: LogLevel,
    line: Arc<Mutex<Vec<u8>>>,
}

impl GuestOutput {
    pub(crate) fn stdout(lines: Arc<Lines>) -> Self {
        Self { lines, level: LogLevel::Info, line: Arc::default() }
    }

    pub(crate) fn stderr(lines: Arc<Lines>) -> Self {
        Self { lines, level: LogLevel::Warn, line: Arc::default() }
    }

    fn take(&self, bytes: &[u8]) {
        if self.lines.is_spent() {
            return self.lines.count_cut(bytes.len());
        }
        let Ok(mut line) = self.line.lock() else { return };
        for &byte in bytes {
            if byte != b'\n' {
                line.push(byte);
            }
            if byte == b'\n' || line.len() >= MAX_LINE_BYTES {
                self.log(&line);
                line.clear();
            }
        }
    }

    fn log(&self, line: &[u8]) {
        if !line.is_empty() {
            self.lines.log(self.level, &String::from_utf8_lossy(line), &[]);
        }
    }
}

impl IsTerminal for GuestOutput {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for GuestOutput {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn wasmtime_wasi::p2::OutputStream> {
        Box::new(self.clone())
    }
}

impl AsyncWrite for GuestOutput {
    fn poll_write(self: Pin<&mut Self>, _cx: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        self.take(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[wasmtime_wasi::async_trait]
impl wasmtime_wasi::p2::Pollable for GuestOutput {
    async fn ready(&mut self) {}
}

impl wasmtime_wasi::p2::OutputStream for GuestOutput {
    fn write(&mut self, bytes: bytes::Bytes) -> wasmtime_wasi::p2::StreamResult<()> {
        self.take(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> wasmtime_wasi::p2::StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> wasmtime_wasi::p2::StreamResult<usize> {
        Ok(64 << 10)
    }
}
