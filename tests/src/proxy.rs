//! A bad network: a proxy that harms the TCP connections through it.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// How often a piece of a request or a reply is harmed under [`Weather::Rough`].
const RATE: f64 = 0.12;
/// How a slow connection carries one piece: in so many parts, with this pause before each.
const PARTS: usize = 4;
const PAUSE: Duration = Duration::from_millis(40);

/// What the network does to what passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Weather {
    /// Nothing.
    Fine,
    /// One [`Harm`] now and then.
    Rough,
    /// Every connection breaks.
    Down,
}

/// What happens to one piece of a request or a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Harm {
    /// The connection breaks before the request has passed.
    RequestCut,
    /// Half of the request passes; then its direction is closed, the other one stays open.
    RequestHalfClosed,
    /// The request passes, bit by bit.
    RequestSlow,
    /// The other side has done its work, and the connection breaks before its reply has passed.
    ReplyDropped,
    /// As before, but the connection stays open, and nothing more comes.
    ReplySwallowed,
    /// Half of the reply passes; then its direction is closed, the other one stays open.
    ReplyHalfClosed,
    /// The reply passes, bit by bit.
    ReplySlow,
}

impl Harm {
    /// All there are.
    pub(crate) const ALL: [Harm; 7] = [
        Harm::RequestCut,
        Harm::RequestHalfClosed,
        Harm::RequestSlow,
        Harm::ReplyDropped,
        Harm::ReplySwallowed,
        Harm::ReplyHalfClosed,
        Harm::ReplySlow,
    ];
    const OF_REQUESTS: &[Harm] = Harm::ALL.split_at(3).0;
    const OF_REPLIES: &[Harm] = Harm::ALL.split_at(3).1;
}

/// A proxy on a port of its own. Dropping it breaks every connection.
pub(crate) struct Proxy {
    address: SocketAddr,
    upstream: watch::Sender<Option<SocketAddr>>,
    network: Arc<Network>,
    accepting: JoinHandle<()>,
}

struct Network {
    weather: watch::Sender<Weather>,
    random: Mutex<fastrand::Rng>,
    done: Mutex<BTreeMap<Harm, usize>>,
}

impl Proxy {
    /// A proxy that harms nothing yet; connections wait until it knows where they lead.
    pub(crate) async fn start(seed: u64) -> Proxy {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let network = Arc::new(Network {
            weather: watch::Sender::new(Weather::Fine),
            random: Mutex::new(fastrand::Rng::with_seed(seed)),
            done: Mutex::default(),
        });
        let upstream = watch::Sender::new(None);
        let accepting = tokio::spawn(accept(listener, upstream.subscribe(), Arc::clone(&network)));
        Proxy { address, upstream, network, accepting }
    }

    /// Where it listens.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Sets where connections lead: to a base address of the pipeline.
    pub(crate) fn lead_to(&self, base_url: &str) {
        let address = base_url.trim_start_matches("http://").parse().unwrap();
        self.upstream.send_replace(Some(address));
    }

    /// Sets what the network does from now on.
    pub(crate) fn weather(&self, weather: Weather) {
        self.network.weather.send_replace(weather);
    }

    /// How often each harm was done.
    pub(crate) fn done(&self) -> BTreeMap<Harm, usize> {
        self.network.done.lock().unwrap().clone()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(
    listener: TcpListener,
    mut upstream: watch::Receiver<Option<SocketAddr>>,
    network: Arc<Network>,
) {
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        let known = upstream.wait_for(Option::is_some).await;
        let Some(address) = known.ok().and_then(|address| *address) else { return };
        let network = Arc::clone(&network);
        // However a connection ends, it is the function that must cope.
        connections.spawn(async move { network.carry(client, address).await });
    }
}

impl Network {
    async fn carry(&self, mut client: TcpStream, upstream: SocketAddr) -> io::Result<()> {
        let mut server = TcpStream::connect(upstream).await?;
        let (request_from, reply_to) = client.split();
        let (reply_from, request_to) = server.split();
        let carried = async {
            tokio::try_join!(
                self.pass(request_from, request_to, Harm::OF_REQUESTS),
                self.pass(reply_from, reply_to, Harm::OF_REPLIES),
            )
        };
        let mut weather = self.weather.subscribe();
        tokio::select! {
            carried = carried => carried.map(|_| ()),
            _ = weather.wait_for(|weather| *weather == Weather::Down) => Err(broken()),
        }
    }

    /// Carries one direction to its end. An error breaks the whole connection.
    async fn pass(
        &self,
        mut from: impl AsyncRead + Unpin,
        mut to: impl AsyncWrite + Unpin,
        harms: &[Harm],
    ) -> io::Result<()> {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let read = from.read(&mut buffer).await?;
            let piece = &buffer[..read];
            if piece.is_empty() {
                return to.shutdown().await;
            }
            match self.harm(harms) {
                None => to.write_all(piece).await?,
                Some(Harm::RequestCut | Harm::ReplyDropped) => return Err(broken()),
                Some(Harm::RequestHalfClosed | Harm::ReplyHalfClosed) => {
                    to.write_all(&piece[..piece.len() / 2]).await?;
                    to.shutdown().await?;
                    return swallow(from).await;
                }
                Some(Harm::ReplySwallowed) => return swallow(from).await,
                Some(Harm::RequestSlow | Harm::ReplySlow) => {
                    for part in piece.chunks(piece.len().div_ceil(PARTS)) {
                        tokio::time::sleep(PAUSE).await;
                        to.write_all(part).await?;
                    }
                }
            }
        }
    }

    fn harm(&self, harms: &[Harm]) -> Option<Harm> {
        let rough = *self.weather.borrow() == Weather::Rough;
        if !rough || self.random.lock().unwrap().f64() >= RATE {
            return None;
        }
        let mut done = self.done.lock().unwrap();
        // In turn, so that a run has all of them.
        let rarest = harms.iter().min_by_key(|harm| done.get(harm).copied().unwrap_or_default());
        let harm = *rarest?;
        *done.entry(harm).or_default() += 1;
        Some(harm)
    }
}

async fn swallow(mut from: impl AsyncRead + Unpin) -> io::Result<()> {
    tokio::io::copy(&mut from, &mut tokio::io::sink()).await.map(|_| ())
}

fn broken() -> io::Error {
    io::ErrorKind::ConnectionReset.into()
}
