//! Boots a machine by hand, as a sandbox would, and tells what becomes of it.
//!
//! `boot --vmm target/debug/bulkhead-vmm --kernel vmlinux --initramfs initramfs.cpio -- quiet panic=-1`
//! leaves the console in `console.log` and the guest's streams at `vsock`, both in `--dir`.

#![expect(clippy::print_stdout, reason = "it is a command for people")]

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use clap::Parser;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with,
};
use vmm_api::{
    BlkAccess, BlkSpec, Channel, DeviceSpec, Event, Extent, MachineKind, MachineSpec,
    MemorySharing, PROTOCOL, Reply, Request, VsockSpec,
};

#[derive(Parser)]
struct Args {
    /// The VMM's executable.
    #[arg(long)]
    vmm: PathBuf,
    #[arg(long)]
    kernel: PathBuf,
    #[arg(long)]
    initramfs: PathBuf,
    #[arg(long, default_value_t = 256)]
    memory_mib: u64,
    #[arg(long, default_value_t = 1)]
    vcpus: u32,
    /// A file to attach as a read-only disk once the guest is ready.
    #[arg(long)]
    disk: Option<PathBuf>,
    /// A file to attach as a writable disk from the beginning.
    #[arg(long)]
    writable: Option<PathBuf>,
    /// Container whose output goes to `<container>.log`.
    #[arg(long, default_value = "c1")]
    container: String,
    /// Where to put sockets and logs.
    #[arg(long, default_value = ".")]
    dir: PathBuf,
    #[arg(long, default_value_t = 100_000)]
    uid: u32,
    /// Further arguments of the VMM, such as `--no-jail`.
    #[arg(long)]
    vmm_arg: Vec<String>,
    /// The kernel's command line.
    #[arg(last = true)]
    cmdline: Vec<String>,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let control = args.dir.join("control");
    let mut vmm = start(&args, &control)?;
    let begin = Instant::now();
    let requests = connect(&control)?;
    boot(&args, &requests)?;
    println!("boot answered after {:?}", begin.elapsed());
    watch(&args, &control, &requests, begin)?;
    println!("{}", vmm.wait()?);
    Ok(())
}

fn start(args: &Args, control: &Path) -> Result<Child> {
    let _ = std::fs::remove_file(control);
    let flags = SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    bind(&socket, &SocketAddrUnix::new(control)?)?;
    listen(&socket, 16)?;
    Command::new("sh")
        // Descriptors above 2 are for the shell to place.
        .args(["-c", "exec \"$0\" \"$@\" 3<&0 </dev/null"])
        .arg(&args.vmm)
        .arg(format!("--uid={}", args.uid))
        .arg(format!("--gid={}", args.uid))
        .args(&args.vmm_arg)
        .stdin(socket)
        .spawn()
        .context("start the VMM")
}

fn connect(control: &Path) -> Result<Channel> {
    let channel = Channel::connect(control)?;
    let hello = Request::Hello {
        min: PROTOCOL,
        max: PROTOCOL,
    };
    println!("{:?}", ask(&channel, &hello, &[])?);
    Ok(channel)
}

fn ask(channel: &Channel, request: &Request, fds: &[BorrowedFd<'_>]) -> Result<Reply> {
    channel.send(request, fds)?;
    let (reply, _) = channel.receive::<Reply>()?;
    if let Reply::Failed(failure) = &reply {
        bail!("{:?}: {failure}", failure.code);
    }
    Ok(reply)
}

fn boot(args: &Args, requests: &Channel) -> Result<()> {
    let open = |path: &Path| File::open(path).with_context(|| path.display().to_string());
    let vsock = args.dir.join("vsock");
    let _ = std::fs::remove_file(&vsock);
    let mut files: Vec<OwnedFd> = vec![
        open(&args.kernel)?.into(),
        open(&args.initramfs)?.into(),
        File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(args.dir.join("console.log"))?
            .into(),
        UnixListener::bind(&vsock)?.into(),
    ];
    let mut devices = Vec::new();
    if let Some(path) = &args.writable {
        let file = File::options().read(true).write(true).open(path)?;
        devices.push(disk("writable", BlkAccess::ReadWrite, &file, 4)?);
        files.push(file.into());
    }
    let spec = MachineSpec {
        kind: MachineKind::Builtin,
        vcpus: args.vcpus,
        memory_mib: args.memory_mib,
        interfaces: Vec::new(),
        memory_sharing: MemorySharing::Private,
        kernel: 0,
        initramfs: 1,
        cmdline: args.cmdline.join(" "),
        console: 2,
        console_limit_bytes: 1 << 20,
        vsock: VsockSpec { listener: 3 },
        devices,
    };
    let fds: Vec<_> = files.iter().map(AsFd::as_fd).collect();
    open_log(args, requests)?;
    ask(requests, &Request::Boot(Box::new(spec)), &fds).map(drop)
}

fn open_log(args: &Args, requests: &Channel) -> Result<()> {
    let path = args.dir.join(format!("{}.log", args.container));
    let file = File::options().append(true).create(true).open(path)?;
    let request = Request::OpenLog {
        container: args.container.clone(),
        file: 0,
    };
    ask(requests, &request, &[file.as_fd()]).map(drop)
}

fn disk(serial: &str, access: BlkAccess, file: &File, index: u32) -> Result<DeviceSpec> {
    Ok(DeviceSpec::Blk(BlkSpec {
        serial: serial.to_owned(),
        access,
        extents: vec![Extent {
            file: index,
            offset: 0,
            len: file.metadata()?.len(),
        }],
    }))
}

/// Prints events until the machine has ended.
fn watch(args: &Args, control: &Path, requests: &Channel, begin: Instant) -> Result<()> {
    let events = connect(control)?;
    ask(&events, &Request::Subscribe, &[])?;
    loop {
        let (event, _) = events.receive::<Event>()?;
        println!("{:?} {event:?}", begin.elapsed());
        match event {
            Event::Running => {}
            Event::GuestReady => attach(args, requests)?,
            Event::Stopped { .. } => {
                println!("{:#?}", ask(requests, &Request::Status, &[])?);
                return Ok(());
            }
        }
    }
}

fn attach(args: &Args, requests: &Channel) -> Result<()> {
    let Some(path) = &args.disk else {
        return Ok(());
    };
    let file = File::open(path)?;
    let spec = disk("attached", BlkAccess::ReadOnly, &file, 0)?;
    let reply = ask(requests, &Request::Attach(spec), &[file.as_fd()])?;
    println!("{reply:?}");
    Ok(())
}
