// An agent in JavaScript, built by jco and componentize-js: it proves that
// another language's usual tool makes components that sleep and move.
//
// | method  | payload | answer |
// |---------|---------|--------|
// | `add`   | number  | the new total |
// | `total` |         | the total |
// | `words` | text    | how many different words it was given so far, kept in a Map |
// | `print` | text    | how often it has printed; the text goes to the console and the agent's log |
// | `send`  | `to method` | sends the total on |
// | `fail`  | text    | the failure `asked-to-fail` |

import { send } from "phoenix:agent/messaging@0.1.0";
import { write } from "phoenix:agent/log@0.1.0";

let total = 0;
let printed = 0;
const words = new Map();

const none = { contentType: "none", bytes: new Uint8Array() };

function json(value) {
  return { contentType: "json", bytes: new TextEncoder().encode(JSON.stringify(value)) };
}

function ok(payload = none) {
  return { tag: "ok", val: payload };
}

function failed(code, message) {
  return { tag: "failed", val: { code, message, details: none } };
}

function read(payload) {
  const text = new TextDecoder().decode(payload.bytes);
  return text === "" ? undefined : JSON.parse(text);
}

const methods = {
  add: (by) => json((total += by)),
  total: () => json(total),
  words: (text) => {
    for (const word of text.split(" ")) words.set(word, (words.get(word) ?? 0) + 1);
    return json(words.size);
  },
  print: (text) => {
    printed += 1;
    console.log(`${printed}: ${text}`);
    write("info", text);
    return json(printed);
  },
  send: (text) => {
    const [to, method] = text.split(" ");
    send(to, method, json(total), "exactly-once");
    return none;
  },
};

export const handler = {
  init(config) {
    if (read(config) === "fail") throw "as it was told to";
  },

  handle(input) {
    if (input.tag !== "message") return ok();
    const { method, payload } = input.val;
    const given = read(payload);
    if (method === "fail") return failed("asked-to-fail", given);
    if (!Object.hasOwn(methods, method)) return failed("no-such-method", method);
    return ok(methods[method](given));
  },
};
