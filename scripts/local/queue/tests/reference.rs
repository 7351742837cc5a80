//! Does the queue behave like SQS, seen through the AWS CLI? And does moto, an independent SQS,
//! agree with the cases themselves? Needs `aws` and `moto_server` on the path.

#[path = "language/cli.rs"]
mod cli;
mod language;

use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use cli::Cli;
use futures::future::join_all;
use language::sdk::Sdk;
use language::{Moto, Server, cases};

/// Cases that are run at once: the CLI takes half a second of processor time per call.
const LANES: usize = 4;
/// The longest that moto may take to start.
const START_MAX: Duration = Duration::from_secs(60);

fn check(surprises: &[String]) {
    assert!(surprises.is_empty(), "{} surprises:\n{}", surprises.len(), surprises.join("\n"));
}

#[tokio::test]
async fn queue_behaves_like_sqs_through_the_cli() {
    let cases: Vec<_> = cases().into_iter().filter(|case| case.cli).collect();
    let lanes = (0..LANES).map(async |lane| {
        let mut surprises = Vec::new();
        for case in cases.iter().skip(lane).step_by(LANES) {
            let server = Server::start().await;
            surprises.extend(case.run(&Cli, &server.endpoint, Some(&server.clock)).await.err());
        }
        surprises
    });
    check(&join_all(lanes).await.concat());
}

#[tokio::test]
async fn moto_agrees_with_the_cases_that_do_not_say_otherwise() {
    let moto = MotoServer::start();
    let (mut agreed, mut surprises) = (0, Vec::new());
    for case in cases() {
        match case.moto {
            Moto::Untested => {}
            Moto::Agrees => {
                surprises.extend(case.run(&Sdk, &moto.endpoint, None).await.err());
                agreed += 1;
            }
            Moto::Differs => {
                if case.run(&Sdk, &moto.endpoint, None).await.is_ok() {
                    surprises.push(format!("{}\n  moto agrees by now", case.claim));
                }
            }
        }
    }
    assert!(agreed >= 15, "moto checks only {agreed} cases");
    check(&surprises);
}

struct MotoServer {
    endpoint: String,
    process: Child,
}

impl MotoServer {
    fn start() -> Self {
        let port = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr());
        let address = port.expect("a free port");
        let process = Command::new("moto_server")
            .args(["-H", "127.0.0.1", "-p", &address.port().to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("moto is installed: pip install 'moto[server]'");
        let deadline = Instant::now() + START_MAX;
        while TcpStream::connect(address).is_err() {
            assert!(Instant::now() < deadline, "moto_server does not listen on {address}");
            std::thread::yield_now();
        }
        Self { endpoint: format!("http://{address}"), process }
    }
}

impl Drop for MotoServer {
    fn drop(&mut self) {
        // Nothing is left to do for a process that has ended already.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}
