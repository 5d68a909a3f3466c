//! A bad path: what goes through it comes late, out of order, or not at all. The kernels that this is tested on know rates and
//! losses, but no delays.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr, UdpSocket},
    rc::Rc,
    sync::{Arc, Mutex},
    thread::JoinHandle,
    time::Duration,
};

use smol::{Async, LocalExecutor, Timer, channel::Sender, future::FutureExt as _};

use super::netns::Host;

/// Those who talk through one relay, at most.
const CLIENTS: usize = 256;

/// What happens to a packet, whichever way it goes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Weather {
    /// It comes so much later.
    pub delay: Duration,
    /// And up to so much more, so that packets overtake each other.
    pub jitter: Duration,
    /// So many of a hundred are lost.
    pub loss_percent: u32,
    /// None gets through.
    pub cut: bool,
}

/// Packets that went either way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Carried {
    pub passed: u64,
    pub lost: u64,
}

/// A UDP relay on a host: what reaches it is sent on to one address, and what comes back is sent back, each client from a port of
/// its own. It ends when it is dropped.
pub struct Relay {
    /// Where clients find it.
    pub address: SocketAddr,
    state: Arc<Mutex<State>>,
    /// Closed to stop it.
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

struct State {
    weather: Weather,
    carried: Carried,
    rng: fastrand::Rng,
}

impl Relay {
    /// Relays from a port of this host to that address. The seed decides which packets are lost, and which are late.
    pub fn start(host: &Host, to: SocketAddr, weather: Weather, seed: u64) -> Self {
        let state = State { weather, carried: Carried::default(), rng: fastrand::Rng::with_seed(seed) };
        let state = Arc::new(Mutex::new(state));
        let (stop, stopped) = smol::channel::bounded::<()>(1);
        let (ready, address) = std::sync::mpsc::channel();
        let (shared, ip) = (state.clone(), host.ip);
        let thread = host.thread(move || {
            let socket = socket_at(ip.into());
            ready.send(socket.get_ref().local_addr().expect("it is bound")).expect("somebody waits");
            // All on this thread: it alone is on the host.
            let executor = Rc::new(LocalExecutor::new());
            let relay = clients(Rc::new(socket), to, shared, executor.clone());
            let until = async {
                let _ = stopped.recv().await;
            };
            smol::block_on(executor.run(relay.or(until)));
        });
        let address = address.recv().expect("the relay starts");
        Self { address, state, stop: Some(stop), thread: Some(thread) }
    }

    /// Changes the weather from now on.
    pub fn set(&self, weather: Weather) {
        self.state.lock().expect("nobody panics holding it").weather = weather;
    }

    /// Lets nothing through.
    pub fn cut(&self) {
        self.state.lock().expect("nobody panics holding it").weather.cut = true;
    }

    /// Undoes [`Relay::cut`].
    pub fn heal(&self) {
        self.state.lock().expect("nobody panics holding it").weather.cut = false;
    }

    /// What came so far.
    pub fn carried(&self) -> Carried {
        self.state.lock().expect("nobody panics holding it").carried
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.stop.take();
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// When a packet that comes now goes on; none if it is lost.
fn fate(state: &Mutex<State>) -> Option<Duration> {
    let state = &mut *state.lock().expect("nobody panics holding it");
    let Weather { delay, jitter, loss_percent, cut } = state.weather;
    if cut || state.rng.u32(..100) < loss_percent {
        state.carried.lost += 1;
        return None;
    }
    state.carried.passed += 1;
    Some(delay + jitter.mul_f64(state.rng.f64()))
}

type Socket = Rc<Async<UdpSocket>>;

/// A socket that loses nothing while its thread waits for a processor: what is lost is for [`Weather`] to say.
fn socket_at(ip: IpAddr) -> Async<UdpSocket> {
    let socket = Async::<UdpSocket>::bind((ip, 0)).expect("a port is free");
    rustix::net::sockopt::set_socket_recv_buffer_size_force(&socket, 8 << 20).expect("root may");
    socket
}

/// Sends on what clients send.
async fn clients(socket: Socket, to: SocketAddr, state: Arc<Mutex<State>>, executor: Rc<LocalExecutor<'static>>) {
    let mut upstream: HashMap<SocketAddr, Socket> = HashMap::new();
    let mut buffer = vec![0; 65536];
    loop {
        // The kernel reports what became of earlier packets as errors of later calls.
        let Ok((bytes, client)) = socket.recv_from(&mut buffer).await else { continue };
        let known = upstream.contains_key(&client);
        assert!(known || upstream.len() < CLIENTS, "too many talk through this relay");
        let there = upstream.entry(client).or_insert_with(|| {
            let ip = socket.get_ref().local_addr().expect("it is bound").ip();
            Rc::new(socket_at(ip))
        });
        if !known {
            executor.spawn(answers(there.clone(), socket.clone(), client, state.clone(), executor.clone())).detach();
        }
        later(&executor, &state, there.clone(), buffer[..bytes].to_vec(), to);
    }
}

/// Sends back to one client what comes for it.
async fn answers(
    from: Socket,
    socket: Socket,
    client: SocketAddr,
    state: Arc<Mutex<State>>,
    executor: Rc<LocalExecutor<'static>>,
) {
    let mut buffer = vec![0; 65536];
    loop {
        let Ok((bytes, _)) = from.recv_from(&mut buffer).await else { continue };
        later(&executor, &state, socket.clone(), buffer[..bytes].to_vec(), client);
    }
}

fn later(executor: &LocalExecutor<'_>, state: &Mutex<State>, socket: Socket, packet: Vec<u8>, to: SocketAddr) {
    let Some(delay) = fate(state) else { return };
    let send = async move {
        Timer::after(delay).await;
        let _ = socket.send_to(&packet, to).await;
    };
    executor.spawn(send).detach();
}
