//! The ACPI tables: what a hardware-reduced machine without RTC, keyboard controller and VGA has.

use acpi_tables::Aml;
use acpi_tables::aml::{
    AddressSpace, AddressSpaceCacheable, Device, EISAName, IO, Interrupt, Memory32Fixed, Name,
    Package, Path, ResourceTemplate, Scope,
};
use acpi_tables::fadt::{FADTBuilder, Flags};
use acpi_tables::gas::{AccessSize, AddressSpace as Space, GAS};
use acpi_tables::madt::{
    EnabledStatus, IoApic, LocalInterruptController, MADT, ProcessorLocalApic,
};
use acpi_tables::mcfg::MCFG;
use acpi_tables::rsdp::Rsdp;
use acpi_tables::sdt::Sdt;
use acpi_tables::xsdt::XSDT;
use vm_memory::{Bytes, GuestAddress, GuestMemoryError, GuestMemoryMmap};

use super::layout;

const OEM_ID: [u8; 6] = *b"BULKHD";
const OEM_TABLE_ID: [u8; 8] = *b"BULKHEAD";
const OEM_REVISION: u32 = 1;

/// FADT `IAPC_BOOT_ARCH`: VGA, ASPM control and CMOS RTC are not there. Without the last, a stock
/// kernel spends a second waiting for a clock that never ticks.
const NO_VGA_ASPM_RTC: u16 = 1 << 2 | 1 << 4 | 1 << 5;

/// Most vCPUs: ids of a local APIC structure have eight bits, of which 0xff means all.
pub(super) const MAX_VCPUS: u32 = 255;

/// Writes the tables for `vcpus` to [`layout::ACPI`], the RSDP first.
pub(super) fn write(memory: &GuestMemoryMmap, vcpus: u8) -> Result<(), GuestMemoryError> {
    memory.write_slice(&tables(vcpus), GuestAddress(layout::ACPI.start))
}

/// All tables as they lie in guest memory from [`layout::ACPI`] on.
fn tables(vcpus: u8) -> Vec<u8> {
    let mut blob = Blob::after(Rsdp::len());
    let dsdt = blob.place(&dsdt());
    let entries = [fadt(dsdt), madt(vcpus), mcfg()].map(|table| blob.place(&table));
    let mut xsdt = XSDT::new(OEM_ID, OEM_TABLE_ID, OEM_REVISION);
    for entry in entries {
        xsdt.add_entry(entry);
    }
    let xsdt = blob.place(&bytes_of(&xsdt));
    blob.finish(&bytes_of(&Rsdp::new(OEM_ID, xsdt)))
}

/// Tables one behind the other, with room for the RSDP in front.
struct Blob(Vec<u8>);

impl Blob {
    fn after(len: usize) -> Self {
        Self(vec![0; len])
    }

    /// Adds a table and returns its guest address.
    fn place(&mut self, table: &[u8]) -> u64 {
        let offset = self.0.len().next_multiple_of(16);
        self.0.resize(offset, 0);
        self.0.extend_from_slice(table);
        layout::ACPI.start + offset as u64
    }

    fn finish(mut self, rsdp: &[u8]) -> Vec<u8> {
        self.0[..rsdp.len()].copy_from_slice(rsdp);
        self.0
    }
}

fn bytes_of(aml: &dyn Aml) -> Vec<u8> {
    let mut bytes = Vec::new();
    aml.to_aml_bytes(&mut bytes);
    bytes
}

fn fadt(dsdt: u64) -> Vec<u8> {
    let port = |port: u16| GAS::new(Space::SystemIo, 8, 0, AccessSize::ByteAccess, port.into());
    let mut fadt = FADTBuilder::new(OEM_ID, OEM_TABLE_ID, OEM_REVISION)
        .dsdt_64(dsdt)
        .flag(Flags::HwReducedAcpi)
        .flag(Flags::ResetRegSup)
        // Set, these two mean that there is no fixed-hardware button.
        .flag(Flags::PwrButton)
        .flag(Flags::SlpButton);
    fadt.iapc_boot_arch = NO_VGA_ASPM_RTC.into();
    fadt.reset_reg = port(layout::RESET_PORT);
    fadt.reset_value = layout::RESET_VALUE;
    fadt.sleep_control_reg = port(layout::SLEEP_PORT);
    fadt.sleep_status_reg = port(layout::SLEEP_PORT + 1);
    bytes_of(&fadt.finalize())
}

fn madt(vcpus: u8) -> Vec<u8> {
    let local_apic = u32::try_from(layout::LOCAL_APIC).expect("below 4 GiB");
    let io_apic = u32::try_from(layout::IO_APIC).expect("below 4 GiB");
    let mut madt = MADT::new(
        OEM_ID,
        OEM_TABLE_ID,
        OEM_REVISION,
        LocalInterruptController::Address(local_apic),
    );
    for id in 0..vcpus {
        madt.add_structure(ProcessorLocalApic::new(id, id, EnabledStatus::Enabled));
    }
    madt.add_structure(IoApic::new(0, io_apic, 0));
    bytes_of(&madt)
}

fn mcfg() -> Vec<u8> {
    let mut mcfg = MCFG::new(OEM_ID, OEM_TABLE_ID, OEM_REVISION);
    mcfg.add_ecam(layout::ECAM.start, 0, 0, 0);
    bytes_of(&mcfg)
}

fn dsdt() -> Vec<u8> {
    let mut aml = Vec::new();
    soft_off().to_aml_bytes(&mut aml);
    for device in [pci_host(), motherboard(), serial(), vm_generation_id()] {
        aml.extend(device);
    }
    let mut dsdt = Sdt::new(*b"DSDT", 36, 2, OEM_ID, OEM_TABLE_ID, OEM_REVISION);
    dsdt.append_slice(&aml);
    dsdt.as_slice().to_vec()
}

/// `_S5`: what to write to the sleep control register to turn the machine off.
fn soft_off() -> Name {
    Name::new(
        "_S5_".into(),
        &Package::new(vec![&layout::SLEEP_TYPE_OFF, &0u8, &0u8, &0u8]),
    )
}

/// The PCI host bridge: one bus, one window for BARs, no interrupt pins.
fn pci_host() -> Vec<u8> {
    let window = dword(layout::PCI_WINDOW.start)..=dword(layout::PCI_WINDOW.end - 1);
    let config_ports = io(layout::PCI_CONFIG_PORTS.start, 8);
    system_device(
        "PCI0",
        &[
            &Name::new("_HID".into(), &EISAName::new("PNP0A08")),
            &Name::new("_CID".into(), &EISAName::new("PNP0A03")),
            &Name::new("_SEG".into(), &0u8),
            &Name::new("_BBN".into(), &0u8),
            &Name::new("_UID".into(), &0u8),
            &Name::new(
                "_CRS".into(),
                &ResourceTemplate::new(vec![
                    &AddressSpace::new_bus_number(0u16, 0u16),
                    &config_ports,
                    &AddressSpace::new_memory(
                        AddressSpaceCacheable::NotCacheable,
                        true,
                        *window.start(),
                        *window.end(),
                        None,
                    ),
                ]),
            ),
        ],
    )
}

/// What is taken: Linux uses an ECAM only if some device claims it.
fn motherboard() -> Vec<u8> {
    let ecam = &layout::ECAM;
    system_device(
        "MBRD",
        &[
            &Name::new("_HID".into(), &EISAName::new("PNP0C02")),
            &Name::new("_UID".into(), &0u8),
            &Name::new(
                "_CRS".into(),
                &ResourceTemplate::new(vec![
                    &Memory32Fixed::new(true, dword(ecam.start), dword(ecam.end - ecam.start)),
                    &io(layout::SLEEP_PORT, 3),
                ]),
            ),
        ],
    )
}

fn serial() -> Vec<u8> {
    system_device(
        "COM1",
        &[
            &Name::new("_HID".into(), &EISAName::new("PNP0501")),
            &Name::new("_UID".into(), &0u8),
            &Name::new(
                "_CRS".into(),
                &ResourceTemplate::new(vec![
                    &io(layout::SERIAL_PORTS.start, 8),
                    &Interrupt::new(true, true, false, false, layout::SERIAL_GSI),
                ]),
            ),
        ],
    )
}

/// Says where the generation id lies. It changes when a machine is cloned, so that the clone's kernel
/// reseeds its random numbers.
fn vm_generation_id() -> Vec<u8> {
    let low = dword(layout::VM_GENERATION_ID);
    system_device(
        "VGEN",
        &[
            &Name::new("_HID".into(), &"BLKH0001"),
            &Name::new("_CID".into(), &"VM_Gen_Counter"),
            &Name::new("_DDN".into(), &"VM_Gen_Counter"),
            &Name::new("ADDR".into(), &Package::new(vec![&low, &0u8])),
        ],
    )
}

fn system_device(name: &str, children: &[&dyn Aml]) -> Vec<u8> {
    let device = Device::new(name.into(), children.to_vec());
    bytes_of(&Scope::new(Path::new("\\_SB_"), vec![&device]))
}

fn io(first: u16, len: u8) -> IO {
    IO::new(first, first, 1, len)
}

/// The low half of an address which, by the layout, has no other.
fn dword(address: u64) -> u32 {
    u32::try_from(address).expect("below 4 GiB")
}

#[cfg(test)]
mod tests;
