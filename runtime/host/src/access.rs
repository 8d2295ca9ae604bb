//! Calls of an instance's accessor.

use wasmtime::component::{
    Component as WasmComponent, ComponentExportIndex, Instance, Linker, TypedFunc, WasmList,
};
use wasmtime::{Store, StoreContextMut};

use crate::image::Image;
use crate::instrument::{self, GLOBALS_PER_CALL};
use crate::reading::Reading;
use crate::spans::Spans;
use crate::state::State;

/// The parameters of a group of globals: two numbers, then [`GLOBALS_PER_CALL`] values.
type Group = (
    u32,
    u32,
    u64,
    u64,
    u64,
    u64,
    u64,
    u64,
    u64,
    u64,
    u64,
    u64,
    u64,
    u64,
    u64,
    u64,
);

/// The accessor's functions, looked up once per component.
#[derive(Debug)]
pub(crate) struct AccessorExports {
    save: ComponentExportIndex,
    write: ComponentExportIndex,
    wipe: ComponentExportIndex,
    loads: Vec<ComponentExportIndex>,
}

impl AccessorExports {
    /// Finds them in an instrumented component with so many globals.
    pub(crate) fn find(component: &WasmComponent, globals: usize) -> Option<Self> {
        let accessor = component.get_export_index(None, instrument::ACCESSOR)?;
        let find = |name: &str| component.get_export_index(Some(&accessor), name);
        let groups = globals.div_ceil(GLOBALS_PER_CALL).max(1);
        Some(Self {
            save: find("save")?,
            write: find("write")?,
            wipe: find("wipe")?,
            loads: (0..groups)
                .map(|group| find(&format!("load-{group}")))
                .collect::<Option<_>>()?,
        })
    }

    /// Reads memory and globals into `reading`.
    pub(crate) fn read(
        &self,
        store: &mut Store<State>,
        instance: &Instance,
        reading: Box<Reading>,
    ) -> wasmtime::Result<Box<Reading>> {
        let save: TypedFunc<(), ()> = instance.get_typed_func(&mut *store, self.save)?;
        store.data_mut().reading = Some(reading);
        let result = save.call(&mut *store, ());
        let reading = store.data_mut().reading.take();
        result?;
        reading.ok_or_else(|| wasmtime::format_err!("the reading was lost"))
    }

    /// Zeroes stretches of memory.
    pub(crate) fn wipe(
        &self,
        store: &mut Store<State>,
        instance: &Instance,
        stretches: &[(u32, u32)],
    ) -> wasmtime::Result<()> {
        let wipe: TypedFunc<(u32, u32), ()> = instance.get_typed_func(&mut *store, self.wipe)?;
        for stretch in stretches {
            wipe.call(&mut *store, *stretch)?;
        }
        Ok(())
    }

    /// Puts an image into a fresh instance. `false` if its memory cannot grow enough.
    pub(crate) fn restore(
        &self,
        store: &mut Store<State>,
        instance: &Instance,
        base: &crate::base::BaseImage,
        image: &Image<'_>,
    ) -> wasmtime::Result<bool> {
        let spans = Spans::of(image, base);
        let address = |place: usize| spans.list.get(place).map_or(0, |span| span.address);
        for (number, load) in self.loads.iter().enumerate() {
            let first = number * GLOBALS_PER_CALL;
            // They are in ascending order.
            let place = |end: usize| image.globals.partition_point(|(index, _)| *index < end);
            let changed = place(first)..place(first + GLOBALS_PER_CALL);
            // A group without a changed global need not be set; the first one grows the memory.
            if number > 0 && changed.is_empty() {
                continue;
            }
            let mut group = [0; GLOBALS_PER_CALL];
            for (slot, value) in group.iter_mut().zip(base.globals.iter().skip(first)) {
                *slot = *value;
            }
            for (index, change) in image.globals.get(changed).unwrap_or_default() {
                if let Some(slot) = group.get_mut(index - first) {
                    *slot ^= change;
                }
            }
            let load: TypedFunc<Group, (u32,)> = instance.get_typed_func(&mut *store, load)?;
            let (grown,) = load.call(&mut *store, flat(image.wasm_pages, address(0), group))?;
            if grown == u32::MAX {
                return Ok(false);
            }
        }
        if spans.list.is_empty() {
            return Ok(true);
        }
        let write: TypedFunc<(u32, &'static [u8]), ()> =
            instance.get_typed_func(&mut *store, self.write)?;
        for (place, span) in spans.list.iter().enumerate() {
            // The same function, for bytes that live as long as this call only.
            let write: TypedFunc<(u32, &[u8]), ()> = write;
            let bytes = spans.bytes(span, image);
            write.call(&mut *store, (address(place + 1), bytes))?;
        }
        spans.reuse();
        Ok(true)
    }
}

fn flat(pages: u32, seek: u32, group: [u64; GLOBALS_PER_CALL]) -> Group {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n] = group;
    (pages, seek, a, b, c, d, e, f, g, h, i, j, k, l, m, n)
}

/// Lets guests show their globals and memory to whatever reading is under way.
pub(crate) fn add_to_linker(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    let mut root = linker.root();
    root.func_wrap(
        instrument::TAKE_GLOBALS,
        |mut store: StoreContextMut<'_, State>, group: Group| {
            let (_, pages, a, b, c, d, e, f, g, h, i, j, k, l, m, n) = group;
            if let Some(reading) = &mut store.data_mut().reading {
                reading.take_globals(pages, &[a, b, c, d, e, f, g, h, i, j, k, l, m, n]);
            }
            Ok(())
        },
    )?;
    root.func_wrap(
        instrument::TAKE_MEMORY,
        |mut store: StoreContextMut<'_, State>, (bytes,): (WasmList<u8>,)| {
            // The reading leaves the store while it looks at memory the store lends.
            if let Some(mut reading) = store.data_mut().reading.take() {
                reading.take_memory(bytes.as_le_slice(&store));
                store.data_mut().reading = Some(reading);
            }
            Ok(())
        },
    )
}
