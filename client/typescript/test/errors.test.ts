import assert from "node:assert/strict";
import { test } from "node:test";
import { Metadata, type ServiceError } from "@grpc/grpc-js";
import { RerankError, status } from "@rerankd/client";
import {
  BadRequest,
  ErrorInfo,
  PreconditionFailure,
  RetryInfo,
} from "../src/generated/google/rpc/error_details.js";
import { Status } from "../src/generated/google/rpc/status.js";
import { toError } from "../src/status.js";

const INFO = detail(
  "ErrorInfo",
  ErrorInfo.encode(ErrorInfo.create({ domain: "rerankd", reason: "WHY" })),
);
const DELAY = { seconds: 7, nanos: 250_000_000 };

function detail(name: string, message: { finish(): Uint8Array }) {
  return {
    typeUrl: `type.googleapis.com/google.rpc.${name}`,
    value: Buffer.from(message.finish()),
  };
}

function packed(...details: ReturnType<typeof detail>[]): Uint8Array {
  return Status.encode(Status.create({ details })).finish();
}

function read(code: status, details = "own words", trailer?: Uint8Array): RerankError {
  const metadata = new Metadata();
  if (trailer) metadata.set("grpc-status-details-bin", Buffer.from(trailer));
  const cause: ServiceError = Object.assign(new Error(), { code, details, metadata });
  const error = toError(cause, "there:1");
  assert(error instanceof RerankError);
  assert.equal(error.cause, cause);
  assert.equal(error.code, code);
  return error;
}

test("rerankd's own words are the message, and its reason is read", () => {
  const error = read(status.UNAVAILABLE, "shutting down", packed(INFO));
  assert.equal(error.message, "shutting down");
  assert.equal(error.reason, "WHY");
  assert.equal(error.retryAfterMs, undefined);
  assert.deepEqual(error.violations, []);
});

test("a reason of somebody else is none", () => {
  const info = ErrorInfo.create({ domain: "example.org", reason: "WHY" });
  const error = read(status.INTERNAL, "", packed(detail("ErrorInfo", ErrorInfo.encode(info))));
  assert.equal(error.reason, "");
});

test("when to try again", () => {
  const retry = RetryInfo.encode(RetryInfo.create({ retryDelay: DELAY }));
  const error = read(status.RESOURCE_EXHAUSTED, "", packed(INFO, detail("RetryInfo", retry)));
  assert.equal(error.retryAfterMs, 7250);
});

test("broken rules, and documents without a score", () => {
  const fieldViolations = [{ field: "query", description: "is empty" }];
  const bad = BadRequest.encode(BadRequest.create({ fieldViolations }));
  assert.deepEqual(
    read(status.INVALID_ARGUMENT, "", packed(INFO, detail("BadRequest", bad))).violations,
    fieldViolations,
  );
  const violations = [{ type: "PENDING", subject: "documents[3]", description: "is pending" }];
  const failed = PreconditionFailure.encode(PreconditionFailure.create({ violations }));
  assert.deepEqual(
    read(status.FAILED_PRECONDITION, "", packed(detail("PreconditionFailure", failed))).violations,
    [{ field: "documents[3]", description: "is pending" }],
  );
});

test("an unreadable trailer is as none", () => {
  for (const trailer of [
    Buffer.from([0xff]),
    packed({ ...INFO, value: Buffer.from([0x0a, 0x7f]) }),
    packed(detail("RetryInfo", { finish: () => Buffer.from("0a0a08ffffffffffffffffff01", "hex") })),
  ]) {
    const error = read(status.UNIMPLEMENTED, "own words", trailer);
    assert.equal(error.reason, "");
    assert.match(error.message, /no rerankd/);
  }
});

test("what gRPC itself refuses comes with a hint", () => {
  const hints: [status, string][] = [
    [
      status.UNAVAILABLE,
      'cannot reach rerankd at there:1: own words; is it running there? "rerankd serve" starts it',
    ],
    [
      status.DEADLINE_EXCEEDED,
      "rerankd at there:1 did not answer in time: own words; give the call more time",
    ],
    [
      status.RESOURCE_EXHAUSTED,
      "own words; send fewer documents at once, or raise max_message_bytes on the server",
    ],
    [status.UNIMPLEMENTED, "what listens at there:1 is no rerankd, or an older one: own words"],
    [status.INTERNAL, "own words"],
  ];
  for (const [code, message] of hints) assert.equal(read(code).message, message);
  assert.equal(read(status.UNAUTHENTICATED, "").message, "UNAUTHENTICATED");
});

test("what is no status stays what it is", () => {
  const error = new Error("a defect");
  assert.equal(toError(error, "there:1"), error);
});
