//! Which message each event-driven interrupt of the machine sends, as KVM keeps it: one table, told anew as a
//! whole.

use std::collections::BTreeMap;
use std::io;
use std::ops::RangeInclusive;

use kvm_bindings::{
    KVM_IRQ_ROUTING_IRQCHIP, KVM_IRQ_ROUTING_MSI, KVM_IRQCHIP_IOAPIC, KVM_IRQCHIP_PIC_MASTER,
    KVM_IRQCHIP_PIC_SLAVE, KvmIrqRouting, kvm_irq_routing_entry,
};
use vmm_devices::MsiMessage;

/// Pins of the I/O APIC, which KVM routes by itself until it is told of a table.
const PINS: u32 = 24;
/// Pins of each of the older controllers.
const PIC_PINS: u32 = 8;
/// The numbers behind them are free; KVM knows 4096.
const NUMBERS: RangeInclusive<u32> = PINS..=4095;

/// Messages by the number that KVM knows them by.
#[derive(Debug, Default)]
pub(super) struct IrqRouting(BTreeMap<u32, MsiMessage>);

impl IrqRouting {
    /// A number for `message` that nobody else has.
    pub(super) fn add(&mut self, message: MsiMessage) -> io::Result<u32> {
        let free = NUMBERS.into_iter().find(|gsi| !self.0.contains_key(gsi));
        let gsi = free.ok_or(io::ErrorKind::StorageFull)?;
        self.0.insert(gsi, message);
        Ok(gsi)
    }

    pub(super) fn remove(&mut self, gsi: u32) {
        self.0.remove(&gsi);
    }

    /// The table in KVM's words, with what is in it at first.
    pub(super) fn table(&self) -> io::Result<KvmIrqRouting> {
        let messages = self.0.iter().map(|(gsi, message)| entry(*gsi, *message));
        let entries: Vec<_> = pins().chain(messages).collect();
        KvmIrqRouting::from_entries(&entries).map_err(|_| io::ErrorKind::InvalidInput.into())
    }
}

fn pins() -> impl Iterator<Item = kvm_irq_routing_entry> {
    let ioapic = (0..PINS).map(|pin| pin_entry(pin, KVM_IRQCHIP_IOAPIC, pin));
    let master = (0..PIC_PINS).map(|pin| pin_entry(pin, KVM_IRQCHIP_PIC_MASTER, pin));
    let slave = (0..PIC_PINS).map(|pin| pin_entry(PIC_PINS + pin, KVM_IRQCHIP_PIC_SLAVE, pin));
    ioapic.chain(master).chain(slave)
}

fn pin_entry(gsi: u32, irqchip: u32, pin: u32) -> kvm_irq_routing_entry {
    let mut entry = kvm_irq_routing_entry {
        gsi,
        type_: KVM_IRQ_ROUTING_IRQCHIP,
        ..Default::default()
    };
    entry.u.irqchip.irqchip = irqchip;
    entry.u.irqchip.pin = pin;
    entry
}

fn entry(gsi: u32, message: MsiMessage) -> kvm_irq_routing_entry {
    let [a, b, c, d, e, f, g, h] = message.address.to_le_bytes();
    let mut entry = kvm_irq_routing_entry {
        gsi,
        type_: KVM_IRQ_ROUTING_MSI,
        ..Default::default()
    };
    entry.u.msi.address_lo = u32::from_le_bytes([a, b, c, d]);
    entry.u.msi.address_hi = u32::from_le_bytes([e, f, g, h]);
    entry.u.msi.data = message.data;
    entry
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_given_once_and_again_when_they_are_free() {
        let message = MsiMessage {
            address: 0xfee0_0000,
            data: 1,
        };
        let mut routing = IrqRouting::default();
        let first = routing.add(message).unwrap();
        let second = routing.add(message).unwrap();
        assert_eq!((first, second), (24, 25));
        routing.remove(first);
        assert_eq!(routing.add(message).unwrap(), first);
    }

    #[test]
    fn pins_stay_where_they_are_whatever_is_added() {
        let mut routing = IrqRouting::default();
        let pins = routing.table().unwrap().as_slice().len();
        assert_eq!(pins, 24 + 16);
        let message = MsiMessage {
            address: 0x1_fee0_1000,
            data: 0x4041,
        };
        routing.add(message).unwrap();
        let table = routing.table().unwrap();
        assert_eq!(table.as_slice().len(), pins + 1);
        assert_eq!(table.as_slice()[pins].gsi, 24);
    }
}
