//! Functions as real child processes: this test starts itself again in a role, the way the
//! pipeline does, and talks to the real `lambda_runtime` in it.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeMap;
use std::future::Future;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, ExitCode, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::body::Bytes;
use lambda_runtime::{LambdaEvent, service_fn};
use libtest_mimic::{Arguments, Trial};
use runtime::{
    Function, FunctionSettings, InvokeError, Line, LineStream, exit_when_parent_is_gone,
};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

/// The longest a test waits for anything.
const LIMIT: Duration = Duration::from_secs(20);
/// What a process writes when it has taken an invocation that it will never answer.
const HANGING: &str = "hanging";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[1..] {
        ["function", "obedient"] => block_on(obedient()),
        ["function", "broken"] => {
            eprintln!("reading the configuration");
            eprintln!("QUEUE_URL is not set");
            return ExitCode::from(3);
        }
        ["parent"] => block_on(parent()),
        _ => return run_tests(),
    }
    ExitCode::SUCCESS
}

fn block_on(future: impl Future<Output = ()>) {
    tokio::runtime::Runtime::new().unwrap().block_on(future);
}

/// A function that does what its event says.
async fn obedient() {
    exit_when_parent_is_gone();
    lambda_runtime::run(service_fn(obey)).await.unwrap();
}

async fn obey(event: LambdaEvent<Value>) -> Result<Value, lambda_runtime::Error> {
    match event.payload["do"].as_str().unwrap() {
        "echo" => Ok(event.payload),
        "fail" => Err("cannot do that".into()),
        "exit" => std::process::exit(7),
        "hang" => {
            println!("{HANGING}");
            // Stuck for good: the runtime cannot notice that its API is gone.
            loop {
                std::thread::park();
            }
        }
        "variables" => Ok(std::env::vars().collect::<BTreeMap<_, _>>().into_iter().collect()),
        "log" => {
            println!("{{\"level\":\"INFO\"}}");
            eprintln!("a panic");
            Ok(Value::Null)
        }
        other => Err(format!("unknown: {other}").into()),
    }
}

/// A parent to be killed while its function is at work and so does not ask for the next event.
/// Tells the id of the function's process.
async fn parent() {
    let (function, lines) = start(1, LIMIT).await;
    let open = told(&function, "hang");
    wait_until_hanging(&lines, 1).await;
    println!("{}", function.process_ids()[0]);
    open.await.unwrap().unwrap();
}

type Lines = Arc<Mutex<Vec<Line>>>;

fn settings(role: &str, environments: usize, timeout: Duration) -> (FunctionSettings, Lines) {
    let lines = Lines::default();
    let taken = Arc::clone(&lines);
    let settings = FunctionSettings {
        name: role.to_owned(),
        executable: std::env::current_exe().unwrap(),
        arguments: vec!["function".to_owned(), role.to_owned()],
        variables: BTreeMap::from([("PAYMENTS_TABLE".to_owned(), "PaymentsTable".to_owned())]),
        memory_mb: 256,
        timeout,
        environments,
        sink: Arc::new(move |line| taken.lock().unwrap().push(line)),
        crash_after: None,
    };
    (settings, lines)
}

async fn start(environments: usize, timeout: Duration) -> (Function, Lines) {
    let (settings, lines) = settings("obedient", environments, timeout);
    (Function::start(settings).await.unwrap(), lines)
}

async fn tell(function: &Function, what: &str) -> Result<Value, InvokeError> {
    let event = Bytes::from(json!({ "do": what }).to_string());
    function.invoke(event).await.map(|response| serde_json::from_slice(&response).unwrap())
}

fn told(function: &Function, what: &'static str) -> tokio::task::JoinHandle<Outcome> {
    let function = function.clone();
    tokio::spawn(async move { tell(&function, what).await })
}

type Outcome = Result<Value, InvokeError>;

/// Asks again until the condition holds.
async fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < LIMIT, "in vain waited until {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

async fn wait_until_hanging(lines: &Lines, count: usize) {
    let hanging = || lines.lock().unwrap().iter().filter(|line| line.text == HANGING).count();
    wait_until("the invocations are under way", || hanging() >= count).await;
}

/// Whether the process runs: a dead one that nobody has waited for does not.
fn is_alive(process_id: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{process_id}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().is_some_and(|state| !state.is_empty() && !state.starts_with('Z'))
}

fn kill(process_id: u32) {
    let process_id = Pid::from_raw(process_id.try_into().unwrap()).unwrap();
    kill_process(process_id, Signal::KILL).unwrap();
}

async fn response_and_environment_come_from_the_process() {
    let (function, _) = start(1, LIMIT).await;
    assert_eq!(tell(&function, "echo").await, Ok(json!({ "do": "echo" })));
    let variables = tell(&function, "variables").await.unwrap();
    let expected = [
        ("AWS_LAMBDA_FUNCTION_NAME", "obedient"),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256"),
        ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST"),
        ("AWS_REGION", "us-east-1"),
        ("PAYMENTS_TABLE", "PaymentsTable"),
    ];
    for (name, value) in expected {
        assert_eq!(variables[name], value, "{name}");
    }
    assert_eq!(variables.get("CARGO_MANIFEST_DIR"), None, "the parent's environment leaks");
}

async fn reported_error_is_typed_and_the_process_goes_on() {
    let (function, _) = start(1, LIMIT).await;
    let before = function.process_ids();
    match tell(&function, "fail").await {
        Err(InvokeError::FunctionError(report)) => assert_eq!(report.message, "cannot do that"),
        other => panic!("{other:?}"),
    }
    assert_eq!(tell(&function, "echo").await, Ok(json!({ "do": "echo" })));
    assert_eq!(function.process_ids(), before);
}

async fn exit_fails_the_open_invocation_and_the_process_is_replaced() {
    let (function, _) = start(1, LIMIT).await;
    let before = function.process_ids();
    assert_eq!(tell(&function, "exit").await, Err(InvokeError::Exited));
    assert_eq!(tell(&function, "echo").await, Ok(json!({ "do": "echo" })));
    assert_ne!(function.process_ids(), before);
}

async fn killed_process_fails_its_invocation_at_once() {
    let (function, lines) = start(1, LIMIT).await;
    let open = told(&function, "hang");
    wait_until_hanging(&lines, 1).await;
    let killed = Instant::now();
    kill(function.process_ids()[0]);
    assert_eq!(open.await.unwrap(), Err(InvokeError::Exited));
    assert!(killed.elapsed() < LIMIT / 2);
    assert_eq!(tell(&function, "echo").await, Ok(json!({ "do": "echo" })));
}

async fn timeout_kills_the_process() {
    let after = Duration::from_millis(300);
    let (function, _) = start(1, after).await;
    let process_id = function.process_ids()[0];
    assert_eq!(tell(&function, "hang").await, Err(InvokeError::TimedOut { after }));
    assert!(!is_alive(process_id));
    assert_eq!(tell(&function, "echo").await, Ok(json!({ "do": "echo" })));
}

async fn restarts_back_off() {
    let (function, _) = start(1, LIMIT).await;
    let start = Instant::now();
    for _ in 0..3 {
        assert_eq!(tell(&function, "exit").await, Err(InvokeError::Exited));
    }
    assert!(tell(&function, "echo").await.is_ok());
    assert!(start.elapsed() >= Duration::from_millis(100 + 200 + 400));
}

async fn each_process_has_one_invocation_at_a_time() {
    let (function, lines) = start(2, LIMIT).await;
    let first = told(&function, "hang");
    wait_until_hanging(&lines, 1).await;
    assert_eq!(tell(&function, "echo").await, Ok(json!({ "do": "echo" })));
    let second = told(&function, "hang");
    wait_until_hanging(&lines, 2).await;
    let third = told(&function, "echo");
    for process_id in function.process_ids() {
        kill(process_id);
    }
    assert_eq!(third.await.unwrap(), Ok(json!({ "do": "echo" })));
    assert_eq!(first.await.unwrap(), Err(InvokeError::Exited));
    assert_eq!(second.await.unwrap(), Err(InvokeError::Exited));
}

async fn failed_start_shows_what_the_process_said() {
    let (settings, _) = settings("broken", 2, LIMIT);
    let error = Function::start(settings).await.err().unwrap().to_string();
    let expected = "cannot start function broken: the process ended with exit status: 3 before \
                    it asked for work\n    reading the configuration\n    QUEUE_URL is not set";
    assert_eq!(error, expected);
}

async fn every_line_reaches_the_sink() {
    let (function, lines) = start(1, LIMIT).await;
    let process_id = function.process_ids()[0];
    tell(&function, "log").await.unwrap();
    let line = |stream, text: &str| Line {
        function: "obedient".to_owned(),
        process_id,
        stream,
        text: text.to_owned(),
    };
    let expected =
        [line(LineStream::Output, "{\"level\":\"INFO\"}"), line(LineStream::Error, "a panic")];
    let has_all = || {
        let lines = lines.lock().unwrap();
        expected.iter().all(|line| lines.contains(line))
    };
    wait_until("both lines arrive", has_all).await;
}

async fn stop_is_bounded_and_leaves_no_process() {
    let (function, lines) = start(2, LIMIT).await;
    let processes = function.process_ids();
    let open = told(&function, "hang");
    wait_until_hanging(&lines, 1).await;
    let start = Instant::now();
    function.stop(Duration::from_millis(100)).await;
    assert!(start.elapsed() < LIMIT / 2);
    open.await.unwrap().unwrap_err();
    let gone = || processes.iter().all(|process_id| !is_alive(*process_id));
    wait_until("the processes are gone", gone).await;
    assert_eq!(function.process_ids(), [0; 0]);
    assert_eq!(tell(&function, "echo").await, Err(InvokeError::Unavailable));
}

async fn processes_die_with_a_killed_parent() {
    let executable = std::env::current_exe().unwrap();
    let mut command = Command::new(executable);
    let mut parent = command.arg("parent").stdout(Stdio::piped()).spawn().unwrap();
    let mut told = String::new();
    BufReader::new(parent.stdout.take().unwrap()).read_line(&mut told).unwrap();
    let process_id = told.trim().parse().unwrap();
    assert!(is_alive(process_id));
    parent.kill().unwrap();
    parent.wait().unwrap();
    wait_until("the orphan ends", || !is_alive(process_id)).await;
}

fn trial<F>(name: &str, test: fn() -> F) -> Trial
where
    F: Future<Output = ()> + 'static,
{
    Trial::test(name, move || {
        block_on(test());
        Ok(())
    })
}

macro_rules! trials {
    ($($test:ident),* $(,)?) => { vec![$(trial(stringify!($test), $test)),*] };
}

fn run_tests() -> ExitCode {
    let trials = trials![
        response_and_environment_come_from_the_process,
        reported_error_is_typed_and_the_process_goes_on,
        exit_fails_the_open_invocation_and_the_process_is_replaced,
        killed_process_fails_its_invocation_at_once,
        timeout_kills_the_process,
        restarts_back_off,
        each_process_has_one_invocation_at_a_time,
        failed_start_shows_what_the_process_said,
        every_line_reaches_the_sink,
        stop_is_bounded_and_leaves_no_process,
        processes_die_with_a_killed_parent,
    ];
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}
