//! Several hosts on one machine: network namespaces, joined by a switch. Needs root.
//!
//! ```ignore
//! let lan = Lan::new(2);
//! let node = lan.hosts[0].spawn(Command::new(env!("CARGO_BIN_EXE_allibrary")).arg("run"));
//! lan.hosts[1].thread(|| std::net::UdpSocket::bind("10.77.0.2:0")).join();
//! lan.unplug(0);
//! lan.split(&[1]);
//! ```
//!
//! Everything is gone when it is dropped; what a killed test left behind goes when the next one starts.

#![allow(dead_code, reason = "each test uses a part of it")]

use std::{
    fs::File,
    net::Ipv4Addr,
    os::fd::AsRawFd,
    process::{Child, Command, id as pid},
    sync::atomic::{AtomicU32, Ordering},
    thread::{self, JoinHandle},
    time::Duration,
};

/// Hosts on one switch, each with `eth0` (10.77.0.1, 10.77.0.2 …, and a link-local IPv6 address) and `lo`.
pub struct Lan {
    pub hosts: Vec<Host>,
    switch: Host,
}

/// A machine of its own as far as the network goes.
pub struct Host {
    namespace: String,
    /// Its address on the LAN; without one that of the loopback.
    pub ip: Ipv4Addr,
}

/// A program that runs on a host, killed when dropped.
pub struct Process(pub Child);

impl Lan {
    /// Makes a LAN of this many hosts.
    pub fn new(count: u16) -> Self {
        let switch = Host::alone();
        let switch_ns = &switch.namespace;
        for bridge in [SWITCH, OTHER_SWITCH] {
            ip(&format!("-n {switch_ns} link add {bridge} type bridge stp_state 0 forward_delay 0 mcast_snooping 0"));
            ip(&format!("-n {switch_ns} link set {bridge} up"));
        }
        let hosts = (1..=count).map(|number| {
            let mut host = Host::alone();
            host.ip = Ipv4Addr::from_bits(Ipv4Addr::new(10, 77, 0, 0).to_bits() + u32::from(number));
            let Host { namespace, ip: address } = &host;
            ip(&format!("-n {switch_ns} link add port{number} type veth peer name eth0 netns {namespace}"));
            ip(&format!("-n {switch_ns} link set port{number} master {SWITCH} up"));
            ip(&format!("-n {namespace} addr add {address}/16 broadcast + dev eth0"));
            ip(&format!("-n {namespace} link set eth0 up"));
            host
        });
        let lan = Self { hosts: hosts.collect(), switch };
        (0..lan.hosts.len()).for_each(|host| lan.settle(host));
        lan
    }

    /// Waits until the cable of a host carries packets both ways: the kernel takes a moment.
    fn settle(&self, host: usize) {
        let until = allibrary::clock::now() + Duration::from_secs(20);
        let port = format!("-n {} -d link show port{}", self.switch.namespace, host + 1);
        let address = format!("-n {} addr show dev eth0 -tentative", self.hosts[host].namespace);
        // Until its queue is set up an interface drops what it should send.
        let works =
            |shown: String, what| !shown.contains("qdisc noop") && shown.contains("state UP") && shown.contains(what);
        while !(works(ip(&port), "state forwarding") && works(ip(&address), "fe80:")) {
            assert!(allibrary::clock::now() < until, "the cable of host {host} is not used");
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Pulls the cable of the host at this place in [`Lan::hosts`].
    pub fn unplug(&self, host: usize) {
        self.port(host, "down");
    }

    /// Puts the cable back.
    pub fn plug(&self, host: usize) {
        self.port(host, "up");
        self.settle(host);
    }

    /// Moves these hosts to a switch of their own: they reach each other and nobody else, and no cable tells.
    pub fn split(&self, hosts: &[usize]) {
        hosts.iter().for_each(|host| self.port(*host, &format!("master {OTHER_SWITCH}")));
    }

    /// Undoes [`Lan::split`].
    pub fn join(&self) {
        (0..self.hosts.len()).for_each(|host| self.port(host, &format!("master {SWITCH}")));
    }

    /// Keeps these hosts from reaching each other; the others they reach.
    pub fn keep_apart(&self, hosts: &[usize]) {
        hosts.iter().for_each(|host| self.port(*host, "type bridge_slave isolated on"));
    }

    /// Lets no more than this through the cable of the host at this place, each way, as in `100mbit`. The queues before it hold
    /// 50 ms, and packets travel one by one: not as the bundles that make no loss a small one, and hide most heads from
    /// [`Host::bytes`].
    pub fn narrow(&self, host: usize, rate: &str) {
        for (end, device) in [(&self.hosts[host], "eth0".to_owned()), (&self.switch, format!("port{}", host + 1))] {
            end.configure(&format!("link set dev {device} gso_max_segs 1"));
            end.run("tc", &format!("qdisc replace dev {device} root tbf rate {rate} burst 128kb latency 50ms"));
        }
    }

    /// Takes their addresses of IPv6 from all hosts: its heads are longer, and either is taken, so that counts of bytes of two
    /// transfers differ by more than 1 %.
    pub fn without_ipv6(&self) {
        self.hosts.iter().for_each(|host| host.configure("-6 addr flush dev eth0"));
    }

    fn port(&self, host: usize, setting: &str) {
        ip(&format!("-n {} link set port{} {setting}", self.switch.namespace, host + 1));
    }
}

impl Host {
    /// A host without any network but its own loopback.
    pub fn alone() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        // SAFETY: asks for a number and cannot fail.
        let root = unsafe { libc::geteuid() } == 0;
        assert!(root, "this test makes network namespaces: run it as root");
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        if number == 0 {
            remove_left_behind();
        }
        let host = Self { namespace: format!("{PREFIX}{}-{number}", pid()), ip: Ipv4Addr::LOCALHOST };
        ip(&format!("netns add {}", host.namespace));
        // IPv6 addresses are usable at once, not after the seconds in which the kernel looks for a second owner.
        let no_wait = "echo 0 > /proc/sys/net/ipv6/conf/default/accept_dad";
        let mut shell = host.command("sh");
        assert!(shell.args(["-c", no_wait]).status().expect("sh runs").success());
        host.configure("link set lo up");
        host
    }

    /// Runs `ip` with these arguments on this host, as in `addr flush dev eth0`.
    pub fn configure(&self, arguments: &str) {
        ip(&format!("-n {} {arguments}", self.namespace));
    }

    /// Loses so many of a hundred UDP packets that arrive, at random; 0 for none.
    pub fn lose(&self, percent: u32) {
        for program in ["iptables", "ip6tables"] {
            self.run(program, "-w -F INPUT");
            if percent > 0 {
                let rule = "-w -A INPUT -i eth0 -p udp -m statistic --mode random --probability";
                self.run(program, &format!("{rule} {} -j DROP", f64::from(percent) / 100.0));
            }
        }
    }

    /// Lets no more than this leave through `eth0`, as in `1mbit`.
    pub fn limit(&self, rate: &str) {
        self.run("tc", &format!("qdisc replace dev eth0 root tbf rate {rate} burst 32kb latency 200ms"));
    }

    /// Bytes that `eth0` has received and sent, with the heads of all layers.
    pub fn bytes(&self) -> [u64; 2] {
        let read = || std::fs::read_to_string("/proc/thread-self/net/dev").expect("proc is mounted");
        let table = self.thread(read).join().expect("the file is there");
        let counts = table.lines().find_map(|line| line.trim().strip_prefix("eth0:")).expect("the host is on a LAN");
        let counts: Vec<u64> = counts.split_whitespace().map(|count| count.parse().expect("a number")).collect();
        [counts[0], counts[8]]
    }

    /// Runs a program to its end on this host, with arguments that hold no spaces; it must succeed.
    pub fn run(&self, program: &str, arguments: &str) {
        let done = self.command(program).args(arguments.split(' ')).output().expect("`ip netns exec` runs");
        assert!(done.status.success(), "{program} {arguments}: {}", String::from_utf8_lossy(&done.stderr));
    }

    /// A command that will run this program on this host, in the very process that is spawned.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.namespace, program]);
        command
    }

    /// Starts a program on this host: its arguments, environment and folder are kept; what it reads and writes is this
    /// process's unless set on [`Host::command`].
    pub fn spawn(&self, command: &Command) -> Process {
        let mut here = self.command(command.get_program().to_str().expect("a program with a printable name"));
        here.args(command.get_args());
        command.get_envs().for_each(|(key, value)| match value {
            Some(value) => drop(here.env(key, value)),
            None => drop(here.env_remove(key)),
        });
        if let Some(folder) = command.get_current_dir() {
            here.current_dir(folder);
        }
        Process(here.spawn().expect("`ip netns exec` runs"))
    }

    /// Starts a thread whose sockets are on this host.
    pub fn thread<T: Send + 'static>(&self, run: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
        let namespace = File::open(format!("/run/netns/{}", self.namespace)).expect("the namespace is there");
        thread::spawn(move || {
            // SAFETY: moves this thread alone, and touches no memory.
            let moved = unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) };
            assert_eq!(moved, 0, "entering a namespace: {}", std::io::Error::last_os_error());
            run()
        })
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // Not asserted: it may run while a test fails.
        let _ = Command::new("ip").args(["netns", "del", &self.namespace]).status();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

const PREFIX: &str = "allibrary-";
/// Where the cables are, and where [`Lan::split`] puts some.
const SWITCH: &str = "br0";
const OTHER_SWITCH: &str = "br1";

/// Deletes the namespaces of tests that are gone.
fn remove_left_behind() {
    for entry in std::fs::read_dir("/run/netns").into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let owner = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next()?.parse::<u32>().ok());
        if owner.is_some_and(|pid| !std::fs::exists(format!("/proc/{pid}")).unwrap_or(true)) {
            let _ = Command::new("ip").args(["netns", "del", &name]).status();
        }
    }
}

/// Runs `ip` with these arguments and returns what it prints.
fn ip(arguments: &str) -> String {
    let done = Command::new("ip").args(arguments.split(' ')).output().expect("the `ip` command is there");
    assert!(done.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8_lossy(&done.stdout).into_owned()
}
