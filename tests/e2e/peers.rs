//! Who is at the other end: right or absent, for libraries that never touch their socket as well.
//!
//! Two providers on one machine; every program talks to both at once, in requests of the same length, so that a connection that is taken for
//! another one shows.

use std::{
    fs::OpenOptions,
    io::Write as _,
    net::{Ipv4Addr, SocketAddr},
};

use a11i_tests::{
    agent::{Agent, AgentOptions},
    kernel,
    provider_stub::{Expected, Options, ProviderStub},
    requirement::{self, Unmet},
    serial::{OneAtATime, one_at_a_time},
    workload::{
        bun::Bun,
        curl::{Curl, chat},
        deno::Deno,
        go::{Build, GoProgram},
        node::Node,
        program::Program,
        python::{Python, Script},
        rust_client::{Provider, RustClient},
    },
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

use crate::scene::OPENAI_CHAT;

/// Connections at once.
const MANY: usize = 50;

struct TwoProviders {
    agent: Agent,
    providers: [ProviderStub; 2],
    _turn: OneAtATime,
}

/// Whether calls may be without a peer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Absent {
    Never,
    /// The program lets others write between a record and its sending, in lengths that are the same.
    WhereAmbiguous,
}

impl TwoProviders {
    /// None after saying what is missing.
    async fn set(second: Ipv4Addr, http2: bool) -> Option<Self> {
        let way = if kernel::has_kprobes() { "kprobes" } else { "tracepoints" };
        Self::set_with(second, http2, way, AgentOptions::default()).await
    }

    /// With this front end.
    async fn set_with(second: Ipv4Addr, http2: bool, way: &str, agent: AgentOptions) -> Option<Self> {
        let turn = one_at_a_time();
        let options = Options { http2, ..Options::default() };
        let providers = [ProviderStub::start_with(options), ProviderStub::start_with(Options { address: Some(second), ..options })];
        let [first, second] = &providers;
        // Clients are told one file.
        let authority = std::fs::read(second.ca_file()).expect("it was written");
        let mut both = OpenOptions::new().append(true).open(first.ca_file()).expect("it was written");
        both.write_all(&authority).expect("the file is writable");
        let agent = Agent::start_with(agent.env("A11I_CAPTURE_SOCKETS", way)).await?;
        Some(Self { agent, providers, _turn: turn })
    }

    fn first(&self) -> &ProviderStub {
        &self.providers[0]
    }

    fn job(&self, via: &str, n: usize) -> Value {
        let port = self.providers.get(n % 2).expect("there are two").port();
        let headers =
            json!({"x-stub-chunks": (10 + n % 5).to_string(), "x-stub-pace-ms": "2", "x-stub-input-tokens": (1000 + n).to_string()});
        json!({"via": via, "port": port, "stream": n.is_multiple_of(3), "prompt": format!("number {n:04}"), "headers": headers})
    }

    /// Calls one after the other, then many at once, three times, then one after the other again.
    fn work(&self, via: &str) -> Vec<Value> {
        let one = |n| self.job(via, n);
        let many = |round: usize| (0..MANY).map(|n| self.job(via, round * MANY + n)).collect::<Value>();
        [(0..4).map(one).collect::<Vec<_>>(), (0..3).map(many).collect(), (0..4).map(one).collect()].concat()
    }

    fn answered(&self) -> Vec<(SocketAddr, Expected)> {
        let of =
            |provider: &ProviderStub| provider.expected().into_iter().map(|expected| (provider.address(), expected)).collect::<Vec<_>>();
        self.providers.iter().flat_map(of).collect()
    }

    /// Where programs find the providers by their ports.
    fn places(&self) -> (&'static str, String) {
        let places: Vec<_> = self.providers.iter().map(|it| format!("{}={}", it.port(), it.address().ip())).collect();
        ("STAND_INS", places.join(","))
    }

    /// Every call of the process is reported with the peer that has answered it, or that was `between`.
    async fn peers_are_right(self, pid: u32, concurrent: Absent, between: Option<SocketAddr>) {
        let answered = self.answered();
        let calls = self.agent.calls_of(pid, answered.len()).await;
        let log = self.agent.stop().await.log;
        let mut absent = Vec::new();
        for (address, expected) in &answered {
            let call = calls.iter().find(|call| call.response_id() == expected.response_id.as_deref());
            let call = call.unwrap_or_else(|| panic!("{expected:?} is not reported; agent's log:\n{log}"));
            expected.assert_reported_as(call);
            assert_eq!(call.text("server.address"), Some("api.openai.com"), "{call:#?}");
            assert_eq!(call.int("server.port"), Some(u64::from(address.port())), "{call:#?}");
            let Some(peer) = call.text("network.peer.address") else {
                assert_eq!(call.int("network.peer.port"), None, "{call:#?}");
                absent.push(call.clone());
                continue;
            };
            let right = between.unwrap_or(*address);
            assert_eq!(peer, right.ip().to_string(), "{call:#?}");
            assert_eq!(call.int("network.peer.port"), Some(u64::from(right.port())), "{call:#?}");
        }
        // Those that were alone have numbers below: see `work`.
        let alone = absent.iter().filter(|call| call.int("gen_ai.usage.input_tokens").is_some_and(|n| n < 1004)).count();
        let allowed = concurrent == Absent::WhereAmbiguous;
        assert!(absent.is_empty() || allowed && alone <= 4, "{absent:#?}\nagent's log:\n{log}");
    }
}

async fn every_peer_is_right(
    via: &str,
    file: Option<&str>,
    concurrent: Absent,
    start: impl FnOnce(&TwoProviders) -> Result<Program, Unmet>,
) {
    let http2 = via.contains("http2");
    let second = if file.is_none() { Ipv4Addr::new(127, 0, 0, 2) } else { Ipv4Addr::LOCALHOST };
    let Some(scene) = TwoProviders::set(second, http2).await else { return };
    let Some(mut program) = requirement::met(start(&scene)) else { return };
    if let Some(file) = file {
        scene.agent.wait_for_log(&["attached path=", &format!("{file}\"")]).await;
    }
    for work in scene.work(via) {
        let answers = program.run(&work).await;
        assert!(answers.iter().all(|answer| answer.get("id").and_then(Value::as_str).is_some_and(|id| !id.is_empty())), "{answers:#?}");
    }
    let pid = program.pid;
    program.finish().await;
    scene.peers_are_right(pid, concurrent, None).await;
}

async fn of_asyncio(via: &str, concurrent: Absent) {
    let Some(python) = requirement::met(Python::with_packages().await) else { return };
    let start = |scene: &TwoProviders| Ok(python.start_with(Script::TwoProviders, scene.first(), &[scene.places()]));
    every_peer_is_right(via, None, concurrent, start).await;
}

#[tokio::test]
async fn of_asyncio_with_aiohttp() {
    of_asyncio("aiohttp", Absent::Never).await;
}

/// Its transports wait for a turn of the loop before they send.
#[tokio::test]
async fn of_asyncio_with_httpx() {
    of_asyncio("httpx", Absent::WhereAmbiguous).await;
}

#[tokio::test]
async fn of_asyncio_with_httpx_over_http2() {
    of_asyncio("httpx-http2", Absent::WhereAmbiguous).await;
}

/// The socket has carried a request for a tunnel before, in clear text.
#[tokio::test]
async fn of_asyncio_through_a_proxy() {
    let Some(python) = requirement::met(Python::with_packages().await) else { return };
    let Some(scene) = TwoProviders::set(Ipv4Addr::LOCALHOST, false).await else { return };
    let (proxy, tunnels) = tunnels().await;
    let environment = [scene.places(), ("PROXY", proxy.port().to_string())];
    let mut program = python.start_with(Script::TwoProviders, scene.first(), &environment);
    for work in scene.work("proxy") {
        let answers = program.run(&work).await;
        assert!(answers.iter().all(|answer| answer.get("id").is_some()), "{answers:#?}");
    }
    let pid = program.pid;
    program.finish().await;
    scene.peers_are_right(pid, Absent::WhereAmbiguous, Some(proxy)).await;
    tunnels.abort();
}

/// A proxy that makes tunnels (`CONNECT`, RFC 9110 section 9.3.6) to ports of this machine, whatever the name.
async fn tunnels() -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a loopback port");
    let address = listener.local_addr().expect("a bound socket has an address");
    let serve = async move {
        while let Ok((mut client, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(client.read_u8().await.expect("a request"));
                }
                let head = String::from_utf8(head).expect("a request is text");
                let authority = head.split_whitespace().nth(1).expect("CONNECT has a target");
                let port: u16 = authority.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a target has a port");
                let mut server = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.expect("the provider listens");
                client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.expect("the client waits");
                tokio::io::copy_bidirectional(&mut client, &mut server).await.ok(); // either end may close at any time
            });
        }
    };
    (address, tokio::spawn(serve))
}

/// What is known of each request of a job: its peer, or nothing.
const RIGHT: bool = true;
const UNKNOWN: bool = false;

/// Records leave in another order than they were made in. What several may have written is nobody's; what one has written is its own.
#[tokio::test]
async fn of_a_program_that_sends_its_records_in_any_order() {
    let Some(scene) = TwoProviders::set(Ipv4Addr::new(127, 0, 0, 2), false).await else { return };
    records_in_any_order(scene).await;
}

#[tokio::test]
async fn guest_peers_of_a_program_that_sends_its_records_in_any_order() {
    for way in FRONT_ENDS {
        if is_there(way) {
            let scene = TwoProviders::set_with(Ipv4Addr::new(127, 0, 0, 2), false, way, AgentOptions::guest()).await;
            let Some(scene) = scene else { return };
            records_in_any_order(scene).await;
        }
    }
}

/// How sockets are seen.
const FRONT_ENDS: [&str; 2] = ["kprobes", "tracepoints"];

/// Whether they can be seen so here.
fn is_there(way: &str) -> bool {
    if way == "kprobes" { kernel::has_kprobes() } else { kernel::has_socket_tracepoints() }
}

/// Requests that are encrypted one after the other, and then sent.
struct Job {
    ports: &'static [usize],
    sizes: &'static [u32],
    sent: &'static [u32],
    /// In two pieces each.
    rest: bool,
    known: bool,
}

async fn records_in_any_order(scene: TwoProviders) {
    let Some(python) = requirement::met(Python::with_packages().await) else { return };
    let mut program = python.start_with(Script::MemoryBios, scene.first(), &[scene.places()]);
    let job = |ports, sizes, sent, known| Job { ports, sizes, sent, rest: false, known };
    let jobs = [
        job(&[0, 1], &[100, 150], &[1, 0], RIGHT),
        job(&[0, 1], &[100, 100], &[1, 0], UNKNOWN),
        job(&[0, 1, 0], &[100, 100, 100], &[2, 0, 1], UNKNOWN),
        // The first record is as long as the other would be with another cipher; the other's is not.
        job(&[0, 1], &[100, 101], &[0, 1], UNKNOWN),
        job(&[0, 1], &[100, 101], &[1, 0], RIGHT),
        Job { rest: true, ..job(&[0, 1], &[200, 250], &[1, 0], RIGHT) },
        // Their first records are full.
        job(&[0, 1], &[40_000, 50_000], &[1, 0], UNKNOWN),
        job(&[0], &[40_000], &[0], RIGHT),
        Job { rest: true, ..job(&[1], &[40_000], &[0], RIGHT) },
        job(&[0, 1, 0, 1], &[300, 350, 400, 450], &[3, 0, 2, 1], RIGHT),
    ];
    let mut answered = Vec::new();
    for Job { ports, sizes, sent, rest, known } in jobs {
        let providers: Vec<_> = ports.iter().map(|at| scene.providers.get(*at).expect("there are two").address()).collect();
        let ports: Vec<_> = providers.iter().map(SocketAddr::port).collect();
        let mut answer = program.run_one(&json!({"ports": ports, "sizes": sizes, "sent": sent, "rest": rest, "close": true})).await;
        for (nth, provider) in providers.iter().enumerate() {
            if nth > 0 {
                answer = program.answer().await;
            }
            answered.push((answer.clone(), known.then_some(*provider)));
        }
    }
    for (answer, right) in answered {
        let call = scene.agent.call_with_id(answer.get("id").and_then(Value::as_str).expect("it was answered")).await;
        assert_eq!(call.text("network.peer.address"), right.map(|it| it.ip().to_string()).as_deref(), "{call:#?}");
        assert_eq!(call.int("network.peer.port"), right.map(|it| it.port().into()), "{call:#?}");
    }
    program.finish().await;
}

async fn of_node(via: &str) {
    let Some(node) = requirement::met(Node::installed()) else { return };
    let own = node.has_own_openssl().then_some("/node");
    let Some(file) = requirement::met(own.ok_or_else(|| Unmet::new("this Node uses the system's library", "a Node with its own"))) else {
        return;
    };
    every_peer_is_right(via, Some(file), Absent::Never, |scene| node.start(scene.first())).await;
}

#[tokio::test]
async fn of_node_on_the_module_https() {
    of_node("https").await;
}

#[tokio::test]
async fn of_node_on_fetch() {
    of_node("fetch").await;
}

#[tokio::test]
async fn of_node_on_the_module_http2() {
    of_node("http2").await;
}

#[tokio::test]
async fn of_bun() {
    for via in ["https", "fetch"] {
        let Some(bun) = requirement::met(Bun::from_its_package().await) else { return };
        every_peer_is_right(via, Some("/bun"), Absent::Never, |scene| bun.start(scene.first())).await;
    }
}

#[tokio::test]
async fn of_deno() {
    let Some(deno) = requirement::met(Deno::from_its_package().await) else { return };
    every_peer_is_right("fetch", Some("/deno"), Absent::Never, |scene| deno.start(scene.first())).await;
}

#[tokio::test]
async fn of_rustls_in_either_version() {
    let Some(client) = requirement::met(RustClient::built(Provider::Ring).await) else { return };
    let name = client.path().file_name().expect("it is a file").display().to_string();
    for options in [&[("TLS_VERSION", "1.3")][..], &[("TLS_VERSION", "1.2")], &[("TLS_VERSION", "1.2"), ("CIPHER", "chacha20")]] {
        every_peer_is_right("rustls", Some(&name), Absent::Never, |scene| Ok(client.start(scene.first(), options))).await;
    }
}

#[tokio::test]
async fn of_go() {
    let Some(go) = requirement::met(GoProgram::compiled(Build::Stripped).await) else { return };
    let Some(scene) = TwoProviders::set(Ipv4Addr::LOCALHOST, false).await else { return };
    let mut client = go.chat(scene.first());
    let name = go.path.file_name().expect("a program has a name").to_string_lossy().into_owned();
    scene.agent.wait_for_log(&["attached path", &format!("{name}\"")]).await;
    for work in scene.work("") {
        let answers = client.run(&work).await;
        assert!(answers.iter().all(|answer| answer.get("error").is_none()), "{answers:#?}");
    }
    let pid = client.pid;
    client.finish().await;
    scene.peers_are_right(pid, Absent::Never, None).await;
}

/// The goroutine is known from 5.15 on.
#[tokio::test]
async fn guest_peers_of_go() {
    for way in FRONT_ENDS {
        if !is_there(way) {
            continue;
        }
        let Some(go) = requirement::met(GoProgram::compiled(Build::Plain).await) else { return };
        let Some(scene) = TwoProviders::set_with(Ipv4Addr::LOCALHOST, false, way, AgentOptions::guest()).await else { return };
        let mut client = go.chat(scene.first());
        let name = go.path.file_name().expect("a program has a name").to_string_lossy().into_owned();
        scene.agent.wait_for_log(&["attached path", &format!("{name}\"")]).await;
        for n in 0..4 {
            client.run_one(&scene.job("", n)).await;
        }
        for (address, expected) in scene.answered() {
            let call = scene.agent.call_with_id(expected.response_id.as_deref().expect("it has an id")).await;
            expected.assert_reported_as(&call);
            let right = kernel::has_attach_cookies().then(|| u64::from(address.port()));
            assert_eq!(call.int("network.peer.port"), right, "{call:#?}");
        }
        client.finish().await;
    }
}

/// As ever: the library makes the socket's calls itself.
#[tokio::test]
async fn of_curl_and_of_python_that_waits() {
    let Some(scene) = TwoProviders::set(Ipv4Addr::new(127, 0, 0, 2), false).await else { return };
    let Some(curl) = requirement::met(Curl::to(scene.first())) else { return };
    let done = curl.post(OPENAI_CHAT, &chat("gpt-4o-mini", "hello")).run().await;
    assert!(done.output.status.success(), "{done:?}");
    let Some(python) = requirement::met(Python::with_packages().await) else { return };
    let mut program = python.start(Script::OpenAiSync, scene.first());
    for _ in 0..3 {
        program.run_one(&json!({"api": "chat", "stream": true})).await;
    }
    program.finish().await;
    for expected in scene.first().expected() {
        let call = scene.agent.call_with_id(expected.response_id.as_deref().expect("it has an id")).await;
        expected.assert_reported_as(&call);
        assert_eq!(call.text("network.peer.address"), Some("127.0.0.1"), "{call:#?}");
        assert_eq!(call.int("network.peer.port"), Some(u64::from(scene.first().port())), "{call:#?}");
    }
}
