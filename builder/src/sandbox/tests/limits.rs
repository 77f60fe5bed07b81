//! E1, E8: using more than is allowed.

use std::time::Duration;

use super::*;

/// Short enough for a test, long enough for a loaded machine to start a shell.
const SHORT: Duration = Duration::from_millis(1500);

fn with_limits(spec: SandboxSpec, change: impl FnOnce(&mut Limits)) -> SandboxSpec {
    let mut spec = spec;
    change(&mut spec.limits);
    spec
}

/// E1: too long. The output so far is there, the children are gone.
#[tokio::test]
async fn wall_clock_limit() {
    let bench = Bench::new().await;
    let marker = bench.marker();
    let script = format!("echo started; (sh -c 'sleep 1000; : {marker}') & while :; do echo busy; sleep 0.1; done");
    let spec = with_limits(bench.shell(&script), |limits| limits.wall_clock = SHORT);
    let (outcome, output) = bench.run(&spec).await;
    assert_eq!(processes_with(&marker), Vec::<String>::new());
    assert_eq!(outcome.status, SandboxStatus::TimedOut { limit: SHORT });
    assert!(outcome.duration >= SHORT && output.starts_with("started\nbusy\n"), "{output}");
}

/// E1: silent, also when the command has closed its output and merely stays.
#[tokio::test]
async fn silence_limit() {
    for script in ["echo started; sleep 1000; : MARKER", "echo started; exec > /dev/null 2>&1; sleep 1000; : MARKER"] {
        let bench = Bench::new().await;
        let script = script.replace("MARKER", &bench.marker());
        let spec = with_limits(bench.shell(&script), |limits| limits.silence = SHORT);
        let (outcome, output) = bench.run(&spec).await;
        assert_eq!(processes_with(&bench.marker()), Vec::<String>::new());
        assert_eq!((outcome.status, output.as_str()), (SandboxStatus::Silent { limit: SHORT }, "started\n"));
    }
}

/// Output now and then is no silence, even if the run takes longer than the silence limit.
#[tokio::test]
async fn slow_output_is_not_silence() {
    let bench = Bench::new().await;
    let script = "for turn in 1 2 3 4 5 6 7 8 9 10; do echo $turn; sleep 0.2; done";
    let spec = with_limits(bench.shell(script), |limits| limits.silence = SHORT);
    let (outcome, _) = bench.run(&spec).await;
    assert!(outcome.success() && outcome.duration > SHORT, "{outcome:?}");
}

/// E1: too much output, with and without line ends. The sink gets the limit, to the byte.
#[tokio::test]
async fn log_limit() {
    let limit = 1_000_000;
    for script in ["yes", "cat /dev/zero"] {
        let bench = Bench::new().await;
        let script = format!("{script} # {}", bench.marker());
        let spec = with_limits(bench.shell(&script), |limits| limits.log_bytes = limit);
        let (outcome, output) = bench.run(&spec).await;
        assert_eq!(processes_with(&bench.marker()), Vec::<String>::new());
        assert_eq!(outcome.status, SandboxStatus::LogTooLong { limit });
        assert_eq!((outcome.log_bytes, output.len() as u64), (limit, limit));
    }
}

/// A log of exactly the limit is fine, one byte more is not, also when the command ends at once.
#[tokio::test]
async fn log_limit_is_exact() {
    let bench = Bench::new().await;
    for (limit, status) in [(10, SandboxStatus::Exited { code: 0 }), (9, SandboxStatus::LogTooLong { limit: 9 })] {
        let spec = with_limits(bench.shell("printf 123456789x"), |limits| limits.log_bytes = limit);
        let (outcome, output) = bench.run(&spec).await;
        assert_eq!(
            (outcome.status, output.as_str()),
            (status, &"123456789x"[..usize::try_from(limit).expect("small")])
        );
    }
}

/// Resource limits and the umask are what the spec says.
#[tokio::test]
async fn resource_limits() {
    let bench = Bench::new().await;
    let script = "ulimit -c; ulimit -n; ulimit -f; ulimit -v; umask
                  head -c 3000000 /dev/zero > big; echo $?; stat -c %s big";
    let spec = with_limits(bench.shell(script), |limits| {
        limits.file_bytes = 1024 * 1024;
        limits.address_space_bytes = Some(8 << 30);
    });
    let (_, output) = bench.run(&spec).await;
    let lines: Vec<&str> = output.lines().filter(|line| !line.contains("limit exceeded")).collect();
    assert_eq!(lines, ["0", "1024", "2048", "8388608", "0022", "153", "1048576"], "{output}");
}

/// E8: a build knows how many processes it may start.
#[tokio::test]
async fn cores_are_visible() {
    let bench = Bench::new().await;
    let script = "echo $PIP_ACCEL_CORES $MAKEFLAGS $MAX_JOBS $NPY_NUM_BUILD_JOBS $CMAKE_BUILD_PARALLEL_LEVEL";
    let (_, output) = bench.run(&bench.shell(script)).await;
    assert_eq!(output, "3 -j3 3 3 3\n");
}

/// A run that was cancelled before it started never starts.
#[tokio::test]
async fn cancelled_before_the_start() {
    let bench = Bench::new().await;
    let (canceller, mut cancel) = Canceller::new();
    canceller.cancel();
    let mut output = Vec::new();
    let outcome = run(&bench.shell("touch /build/started"), &bench.facts, &mut output, &mut cancel).await;
    assert_eq!(outcome.expect("an outcome").status, SandboxStatus::Cancelled);
    assert!(!bench.path().join("started").exists());
}
