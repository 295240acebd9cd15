//! `crictl exec -it` at a terminal, as a person has it.

use std::thread::sleep;
use std::time::Duration;

use anyhow::Result;
use e2e::runtime::{Runtime, SOCKET, container_config};
use e2e::terminal::Terminal;

use super::PATIENCE;

/// For a program to have begun to read what is typed.
const MOMENT: Duration = Duration::from_secs(1);

under_every_handler!(a_shell_at_a_terminal_is_as_good_as_one_here);

async fn a_shell_at_a_terminal_is_as_good_as_one_here(handler: &str) -> Result<()> {
    let mut runtime = Runtime::connect(PATIENCE).await?;
    let mut pod = runtime.shared_pod(handler).await?;
    let container = pod
        .start(&container_config("c", &["sleep", "1000"]))
        .await?;
    let endpoint = format!("unix://{SOCKET}");
    let arguments = [
        "--runtime-endpoint",
        &endpoint,
        "exec",
        "-it",
        &container.id,
        "sh",
    ];
    let mut shell = Terminal::start("crictl", &arguments, 33, 101)?;
    shell.expect("/ # ")?;
    sizes_reach_it(&mut shell)?;
    ctrl_c_interrupts_what_runs(&mut shell)?;
    an_editor_has_the_whole_screen(&mut shell)?;
    // Ctrl-D; the shell ends as its last command did, which crictl only says.
    shell.type_in("(exit 7)\r\x04")?;
    shell.expect("exit code 7")?;
    assert!(!shell.end()?.success());
    pod.clear().await
}

// What is typed is shown, too. So what is expected must not be a part of it.

fn sizes_reach_it(shell: &mut Terminal) -> Result<()> {
    shell.type_in("stty size\r")?;
    shell.expect("33 101")?;
    shell.resize(40, 120)?;
    shell.type_in("until stty size | grep '40 120'; do sleep 0.2; done\r")?;
    shell.expect("\n40 120")?;
    Ok(())
}

fn ctrl_c_interrupts_what_runs(shell: &mut Terminal) -> Result<()> {
    shell.type_in("echo sle$((1))ps; sleep 1000\r")?;
    shell.expect("sle1ps")?;
    sleep(MOMENT);
    shell.type_in("\x03")?;
    shell.expect("/ # ")?;
    shell.type_in("echo ended $?\r")?;
    shell.expect("ended 130")?;
    Ok(())
}

fn an_editor_has_the_whole_screen(shell: &mut Terminal) -> Result<()> {
    shell.type_in("clear; vi /tmp/new\r")?;
    let screen = shell.expect("- /tmp/new 1/1")?;
    let empty_lines = screen.matches("~").count();
    assert_eq!(empty_lines, 38, "{screen:?}");
    shell.type_in("iwritten in vi")?;
    shell.expect("written in vi")?;
    shell.type_in("\x1b")?;
    // An escape that is followed at once is a key of another name.
    sleep(MOMENT);
    shell.type_in(":wq\r")?;
    shell.expect("/ # ")?;
    shell.type_in("sed 's/^/file: /' /tmp/new\r")?;
    shell.expect("file: written in vi")?;
    Ok(())
}
