//! The smallest framed agent, with places where other components put what makes them odd.

/// Parts of the framed agent that a test may put something into. The text is
/// WebAssembly's own.
#[derive(Clone, Copy, Debug)]
pub struct Framed<'a> {
    /// Its memory, or an import of one.
    pub memory: &'a str,
    /// More fields of the core module. `$alloc` is a function that takes and gives an `i32`.
    pub module: &'a str,
    /// Instructions at the start of every call. They must leave nothing on the stack.
    pub on_turns: &'a str,
    /// Instructions for each `describe` turn.
    pub on_describe: &'a str,
    /// Component fields before the core module.
    pub before: &'a str,
    /// Arguments of the core module's instantiation.
    pub with: &'a str,
    /// The type of `turns`, by which a test can get it wrong.
    pub list: &'a str,
    /// Component fields at the end.
    pub after: &'a str,
}

impl Default for Framed<'_> {
    fn default() -> Self {
        Self {
            memory: r#"(memory $memory (export "memory") 1)"#,
            module: "",
            on_turns: "",
            on_describe: "",
            before: "",
            with: "",
            list: "(list u8)",
            after: "",
        }
    }
}

/// The plain agent: it answers every turn but `describe` with the number of
/// such turns so far, eight bytes little-endian, content type binary.
pub fn framed() -> Vec<u8> {
    Framed::default().component()
}

impl Framed<'_> {
    /// The component.
    pub fn component(&self) -> Vec<u8> {
        let text = self.text();
        wat::parse_str(&text).unwrap_or_else(|error| panic!("{error}"))
    }

    fn text(&self) -> String {
        let Self {
            memory,
            module,
            on_turns,
            on_describe,
            before,
            with,
            list,
            after,
        } = self;
        format!(
            r#"(component $agent
  {before}
  (core module $main
    {memory}
    ;; The count lies at 64, the address and length of an answer at 80. What
    ;; follows 1024 is the room of one call.
    (global $top (mut i32) (i32.const 1024))
    (func $alloc (param $size i32) (result i32) (local $at i32) (local $needed i32)
      (local.set $at (global.get $top))
      (global.set $top (i32.and (i32.const -8)
        (i32.add (i32.add (local.get $at) (local.get $size)) (i32.const 15))))
      (local.set $needed (i32.sub
        (i32.shr_u (i32.add (global.get $top) (i32.const 65535)) (i32.const 16))
        (memory.size)))
      (if (i32.gt_s (local.get $needed) (i32.const 0))
        (then (if (i32.eq (memory.grow (local.get $needed)) (i32.const -1))
          (then unreachable))))
      (local.get $at))
    (func (export "realloc") (param i32 i32 i32 i32) (result i32)
      (call $alloc (local.get 3)))
    (func (export "post") (param i32)
      (global.set $top (i32.const 1024)))
    (func (export "turns") (param $frame i32) (param $length i32) (result i32)
      (local $at i32) (local $left i32) (local $start i32) (local $out i32)
      {on_turns}
      (local.set $left (i32.load offset=4 (local.get $frame)))
      (local.set $at (i32.add (local.get $frame)
        (i32.add (i32.const 16) (i32.load16_u offset=2 (local.get $frame)))))
      (local.set $start (call $alloc
        (i32.add (i32.const 12) (i32.mul (local.get $left) (i32.const 27)))))
      (i32.store (local.get $start) (i32.const 1))
      (i32.store offset=4 (local.get $start) (local.get $left))
      (local.set $out (i32.add (local.get $start) (i32.const 8)))
      (block $end (loop $next
        (br_if $end (i32.eqz (local.get $left)))
        (local.set $left (i32.sub (local.get $left) (i32.const 1)))
        (i64.store offset=4 (local.get $out) (i64.const 0))
        (if (i32.eq (i32.load8_u offset=4 (local.get $at)) (i32.const 4))
          (then
            {on_describe}
            ;; {{"handlers": []}} in MessagePack.
            (i32.store (local.get $out) (i32.const 23))
            (i32.store offset=12 (local.get $out) (i32.const 0x01000000))
            (i64.store offset=16 (local.get $out) (i64.const 0x656c646e6168a881))
            (i32.store offset=24 (local.get $out) (i32.const 0x00907372))
            (local.set $out (i32.add (local.get $out) (i32.const 27))))
          (else
            (i64.store (i32.const 64)
              (i64.add (i64.load (i32.const 64)) (i64.const 1)))
            (i32.store (local.get $out) (i32.const 20))
            (i32.store offset=12 (local.get $out) (i32.const 0x03000000))
            (i64.store offset=16 (local.get $out) (i64.load (i32.const 64)))
            (local.set $out (i32.add (local.get $out) (i32.const 24)))))
        (local.set $at (i32.add (local.get $at)
          (i32.add (i32.const 4) (i32.load (local.get $at)))))
        (br $next)))
      (i32.store (i32.const 80) (local.get $start))
      (i32.store (i32.const 84) (i32.sub (local.get $out) (local.get $start)))
      (i32.const 80))
    {module}
  )
  (core instance $core (instantiate $main {with}))
  (alias core export $core "memory" (core memory $memory))
  (alias core export $core "realloc" (core func $realloc))
  (func $turns (export "turns") (param "frame" {list}) (result {list})
    (canon lift (core func $core "turns")
      (memory $memory) (realloc $realloc) (post-return (core func $core "post"))))
  {after}
)"#
        )
    }
}
