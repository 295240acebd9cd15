//! The tables as a kernel walks them.

use super::*;

/// The bytes of the table at guest address `address` in `blob`.
fn table(blob: &[u8], address: u64) -> &[u8] {
    let table = &blob[usize::try_from(address - layout::ACPI.start).unwrap()..];
    let len = u32::from_le_bytes(table[4..8].try_into().unwrap());
    &table[..usize::try_from(len).unwrap()]
}

fn address_at(bytes: &[u8], offset: usize) -> u64 {
    u64::from_le_bytes(bytes[offset..offset + 8].try_into().unwrap())
}

/// The tables that the XSDT lists, by signature.
#[track_caller]
fn listed<'b>(blob: &'b [u8], signature: &[u8; 4]) -> &'b [u8] {
    let xsdt = table(blob, address_at(blob, 24));
    let mut entries = xsdt[36..]
        .chunks(8)
        .map(|entry| table(blob, address_at(entry, 0)));
    entries.find(|entry| entry.starts_with(signature)).unwrap()
}

#[track_caller]
fn check_sum(bytes: &[u8]) {
    assert_eq!(
        bytes.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte)),
        0
    );
}

fn dsdt_of(blob: &[u8]) -> &[u8] {
    table(blob, address_at(listed(blob, b"FACP"), 140))
}

#[test]
fn every_table_is_found_from_the_rsdp_and_sums_to_zero() {
    let blob = tables(3);
    assert!(blob.starts_with(b"RSD PTR "));
    check_sum(&blob[..20]);
    check_sum(&blob[..36]);
    check_sum(table(&blob, address_at(&blob, 24)));
    for signature in [b"FACP", b"APIC", b"MCFG"] {
        check_sum(listed(&blob, signature));
    }
    check_sum(dsdt_of(&blob));
}

#[test]
fn the_largest_machine_fits() {
    let room = usize::try_from(layout::ACPI.end - layout::ACPI.start).unwrap();
    assert!(tables(u8::MAX).len() <= room);
}

#[test]
fn the_machine_is_hardware_reduced_without_rtc_and_keyboard_controller() {
    let blob = tables(1);
    let fadt = listed(&blob, b"FACP");
    let flags = u32::from_le_bytes(fadt[112..116].try_into().unwrap());
    assert_ne!(flags & 1 << 20, 0, "hardware-reduced");
    assert_ne!(flags & 1 << 10, 0, "has a reset register");
    let boot_arch = u16::from_le_bytes(fadt[109..111].try_into().unwrap());
    assert_eq!(boot_arch & 1 << 1, 0, "no 8042");
    assert_ne!(boot_arch & 1 << 5, 0, "no RTC");
    // Reset, sleep control and sleep status: a port each.
    for (offset, port) in [
        (116, layout::RESET_PORT),
        (244, layout::SLEEP_PORT),
        (256, layout::SLEEP_PORT + 1),
    ] {
        assert_eq!(fadt[offset], 1, "a register in port space");
        assert_eq!(address_at(fadt, offset + 4), u64::from(port));
    }
}

#[test]
fn every_vcpu_has_a_local_apic_and_there_is_one_io_apic() {
    let blob = tables(3);
    let mut rest = &listed(&blob, b"APIC")[44..];
    let mut structures = Vec::new();
    while let [kind, len, id, ..] = *rest {
        structures.push((kind, id));
        rest = &rest[usize::from(len)..];
    }
    assert_eq!(structures, [(0, 0), (0, 1), (0, 2), (1, 0)]);
}

#[test]
fn the_dsdt_names_every_device() {
    let blob = tables(1);
    let dsdt = dsdt_of(&blob);
    for name in [b"PCI0", b"MBRD", b"COM1", b"VGEN", b"_S5_"] {
        assert!(
            dsdt.windows(4).any(|window| window == name),
            "{}",
            name.escape_ascii()
        );
    }
}
