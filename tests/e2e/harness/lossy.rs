//! A path that loses, delays and reorders datagrams, the same way each time.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

/// One in this many is lost.
const LOST: u64 = 50;
/// One in this many is overtaken by those behind it.
const LATE: u64 = 20;
const DELAY: Duration = Duration::from_millis(5);

/// A path for one client, to one server.
pub(crate) struct Lossy {
    address: SocketAddr,
    lost: Arc<AtomicU64>,
    tasks: Vec<JoinHandle<()>>,
}

impl Lossy {
    /// To `server`; the seed says which datagrams suffer.
    pub(crate) async fn to(server: SocketAddr, seed: u64) -> Self {
        let front = Arc::new(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap());
        let back = Arc::new(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap());
        back.connect(server).await.unwrap();
        let address = front.local_addr().unwrap();
        let lost = Arc::new(AtomicU64::new(0));
        let client = Arc::new(std::sync::Mutex::new(None));
        let there = {
            let (front, back, lost, client) = (
                Arc::clone(&front),
                Arc::clone(&back),
                Arc::clone(&lost),
                Arc::clone(&client),
            );
            tokio::spawn(async move {
                let (mut dice, mut buffer) = (Dice(seed | 1), vec![0; 65_536]);
                while let Ok((length, from)) = front.recv_from(&mut buffer).await {
                    *client.lock().unwrap() = Some(from);
                    let (back, data) = (Arc::clone(&back), buffer[..length].to_vec());
                    dice.fate(&lost, async move { drop(back.send(&data).await) });
                }
            })
        };
        let back_again = {
            let lost = Arc::clone(&lost);
            tokio::spawn(async move {
                let (mut dice, mut buffer) = (Dice(seed.wrapping_mul(31) | 1), vec![0; 65_536]);
                while let Ok(length) = back.recv(&mut buffer).await {
                    let Some(to) = *client.lock().unwrap() else {
                        continue;
                    };
                    let (front, data) = (Arc::clone(&front), buffer[..length].to_vec());
                    dice.fate(&lost, async move { drop(front.send_to(&data, to).await) });
                }
            })
        };
        Self {
            address,
            lost,
            tasks: vec![there, back_again],
        }
    }

    /// Where the client sends to.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Datagrams that never arrived.
    pub(crate) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

impl Drop for Lossy {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

/// xorshift64.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 >> 20
    }

    fn fate(&mut self, lost: &AtomicU64, send: impl Future<Output = ()> + Send + 'static) {
        let rolled = self.roll();
        if rolled.is_multiple_of(LOST) {
            lost.fetch_add(1, Ordering::Relaxed);
        } else {
            let late = (rolled / LOST).is_multiple_of(LATE);
            tokio::spawn(async move {
                if late {
                    tokio::time::sleep(DELAY).await;
                }
                send.await;
            });
        }
    }
}
