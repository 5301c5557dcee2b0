import assert from "node:assert/strict";
import { test } from "node:test";
import { credentials } from "@grpc/grpc-js";
import { Client, type ClientOptions, RETRYING } from "@rerankd/client";
import { toChannelOptions } from "../src/options.js";

function make(address: string, options?: ClientOptions): void {
  new Client(address, options).close();
}

test("no address, or one with a scheme, is refused at once", () => {
  assert.throws(() => make(""), {
    name: "TypeError",
    message: 'address "": give host:port or unix:/path',
  });
  for (const scheme of ["http", "https", "grpc", "grpcs", "tcp", "ws", "wss", "HTTP"]) {
    const address = `${scheme}://127.0.0.1:50051`;
    assert.throws(() => make(address), {
      name: "TypeError",
      message:
        `address "${address}": give host:port or unix:/path, without ${scheme}://; ` +
        "TLS is an option of the client",
    });
  }
  for (const address of [
    "a.example:1",
    "unix:/tmp/a",
    "dns:///a.example:1",
    "https:1",
    "[::1]:1",
  ]) {
    make(address);
  }
});

test("a token leaves this machine over TLS only", () => {
  for (const address of [
    "10.0.0.1:1",
    "127.0.0.1.example:1",
    "localhost.example:1",
    "127.example:1",
  ]) {
    assert.throws(() => make(address, { token: "t" }), { name: "TypeError", message: /TLS only/ });
    assert.throws(() => make(address, { token: "t", credentials: credentials.createInsecure() }));
    make(address, { token: "t", tls: true });
    make(address, { token: "t", credentials: credentials.createSsl() });
  }
  for (const address of [
    "127.1.2.3:1",
    "[::1]:1",
    "localhost:1",
    "unix:/tmp/a",
    "dns:localhost:1",
  ]) {
    make(address, { token: "t" });
  }
});

test("a token that cannot be sent is refused, and not repeated", () => {
  for (const token of ["", "secret\n", "sécret"]) {
    assert.throws(
      () => make("localhost:1", { token }),
      (error: Error) => error instanceof TypeError && !error.message.includes("cret"),
    );
  }
});

test("what a channel is told", () => {
  const plain = toChannelOptions("a.example:1", {});
  assert.equal(plain["grpc.max_receive_message_length"], -1);
  assert.equal(plain["grpc.max_send_message_length"], -1);
  assert.equal(plain["grpc.max_reconnect_backoff_ms"], 2000);
  for (const name of ["service_config", "keepalive_time_ms", "enable_http_proxy"]) {
    assert(!(`grpc.${name}` in plain), name);
  }
  const told = toChannelOptions("a.example:1", {
    serviceConfig: RETRYING,
    keepalive: { timeMs: 30_000, timeoutMs: 5000 },
    channelOptions: { "grpc.max_send_message_length": 1 },
  });
  assert.equal(told["grpc.service_config"], RETRYING);
  assert.equal(told["grpc.keepalive_time_ms"], 30_000);
  assert.equal(told["grpc.keepalive_timeout_ms"], 5000);
  assert.equal(told["grpc.max_send_message_length"], 1);
});

test("a service config that is none is refused at once", () => {
  for (const serviceConfig of ["", "{", "[]", "null", '{"methodConfig": [{}]}']) {
    assert.throws(() => make("localhost:1", { serviceConfig }), TypeError, serviceConfig);
  }
  make("localhost:1", { serviceConfig: "\n{}" });
});

test("a certificate without its key, or that is none, is refused at once", () => {
  for (const tls of [{ cert: "none" }, { cert: "none", key: "none" }]) {
    assert.throws(() => make("localhost:1", { tls }), TypeError);
  }
});
