;; An agent that grows its table, which no Rust can. It answers every turn with
;; how many there were, eight bytes little-endian; the first letter of the first
;; method names the misdeed:
;;
;; | method | what |
;; |---|---|
;; | `limit` | grows its table element by element until it is refused |
;; | `all` | asks for 2,147,483,647 elements at once |
;; | `past` | grows to the limit and writes past it |
;; | `size` | answers with the table's elements; the count goes on from there |
;;
;; As it changes a table it cannot sleep or move.
(component $agent
  (core module $main
    (memory $memory (export "memory") 1)
    (table $table 1 funcref)
    (elem declare func $alloc)
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
    ;; Does what the first letter of the first turn's method says.
    (func $misdeed (param $frame i32) (local $record i32) (local $letter i32)
      (local.set $record (i32.add (i32.add (local.get $frame) (i32.const 16))
        (i32.load16_u offset=2 (local.get $frame))))
      (if (i32.ne (i32.load8_u offset=4 (local.get $record)) (i32.const 1)) (then return))
      (local.set $letter (i32.load8_u offset=36
        (i32.add (local.get $record) (i32.load16_u offset=32 (local.get $record)))))
      ;; l: grows element by element to the limit.
      (if (i32.eq (local.get $letter) (i32.const 0x6c))
        (then (loop $more
          (br_if $more (i32.ne (i32.const -1)
            (table.grow $table (ref.func $alloc) (i32.const 1)))))))
      ;; a: asks for all at once.
      (if (i32.eq (local.get $letter) (i32.const 0x61))
        (then (drop (table.grow $table (ref.func $alloc) (i32.const 0x7fffffff)))))
      ;; p: to the limit, and writes past it.
      (if (i32.eq (local.get $letter) (i32.const 0x70))
        (then (loop $more
          (br_if $more (i32.ne (i32.const -1)
            (table.grow $table (ref.func $alloc) (i32.const 1000)))))
          (table.set $table (table.size $table) (ref.func $alloc))))
      ;; s: says how large it is, in place of the count of turns.
      (if (i32.eq (local.get $letter) (i32.const 0x73))
        (then (i64.store (i32.const 64)
          (i64.sub (i64.extend_i32_u (table.size $table)) (i64.const 1))))))
    (func (export "realloc") (param i32 i32 i32 i32) (result i32)
      (call $alloc (local.get 3)))
    (func (export "post") (param i32)
      (global.set $top (i32.const 1024)))
    (func (export "turns") (param $frame i32) (param $length i32) (result i32)
      (local $at i32) (local $left i32) (local $start i32) (local $out i32)
      (call $misdeed (local.get $frame))
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
            ;; {"handlers": []} in MessagePack.
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
  )
  (core instance $core (instantiate $main))
  (alias core export $core "memory" (core memory $memory))
  (alias core export $core "realloc" (core func $realloc))
  (func $turns (export "turns") (param "frame" (list u8)) (result (list u8))
    (canon lift (core func $core "turns")
      (memory $memory) (realloc $realloc) (post-return (core func $core "post"))))
)
