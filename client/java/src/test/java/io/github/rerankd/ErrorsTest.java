package io.github.rerankd;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import com.google.protobuf.Any;
import com.google.protobuf.ByteString;
import com.google.protobuf.Message;
import com.google.rpc.BadRequest;
import com.google.rpc.ErrorInfo;
import com.google.rpc.PreconditionFailure;
import com.google.rpc.RetryInfo;
import io.grpc.Metadata;
import io.grpc.Status;
import java.io.FileNotFoundException;
import java.io.IOException;
import java.time.Duration;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.ExecutionException;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

@Timeout(60)
class ErrorsTest {
  private static final ErrorInfo OURS =
      ErrorInfo.newBuilder().setDomain("rerankd").setReason("OVERLOADED").build();

  private final Errors errors = new Errors("there:1", () -> false);

  @Test
  void aReasonAndWhenToTryAgain() {
    var delay = com.google.protobuf.Duration.newBuilder().setSeconds(2).setNanos(500_000_000);
    var error = read(OURS, RetryInfo.newBuilder().setRetryDelay(delay).build());
    assertEquals("OVERLOADED", error.reason());
    assertEquals(Optional.of(Duration.ofMillis(2500)), error.retryAfter());
    assertEquals(List.of(), error.violations());
    assertEquals("RESOURCE_EXHAUSTED: words", error.getMessage());
  }

  @ParameterizedTest
  @CsvSource({
    "9223372036854775807, 2000000000",
    "315576000001, 0",
    "0, 1000000000",
    "-1, 0",
    "0, -1"
  })
  void whenToTryAgainThatIsNoTime(long seconds, int nanos) {
    var delay = com.google.protobuf.Duration.newBuilder().setSeconds(seconds).setNanos(nanos);
    var error = read(OURS, RetryInfo.newBuilder().setRetryDelay(delay).build());
    assertEquals("OVERLOADED", error.reason());
    assertEquals(Optional.empty(), error.retryAfter());
  }

  @Test
  void aDefectInReadingLeavesNoFutureOpen() {
    var future =
        new FutureResponse<>(
            new Errors(
                "there:1",
                () -> {
                  throw new AssertionError("defect");
                }));
    var error = Status.UNAVAILABLE.asException();
    assertThrows(AssertionError.class, () -> future.onError(error));
    assertEquals(error, assertThrows(ExecutionException.class, future::get).getCause());
  }

  @Test
  void fieldsThatBreakRules() {
    var violation =
        BadRequest.FieldViolation.newBuilder().setField("query").setDescription("is empty");
    var error = read(OURS, BadRequest.newBuilder().addFieldViolations(violation).build());
    assertEquals(List.of(new Violation("query", "is empty")), error.violations());
    assertEquals(Optional.empty(), error.retryAfter());
  }

  @Test
  void documentsWithoutAScore() {
    var violation =
        PreconditionFailure.Violation.newBuilder()
            .setSubject("documents[0]")
            .setDescription("was refused");
    var error = read(PreconditionFailure.newBuilder().addViolations(violation).build());
    assertEquals(List.of(new Violation("documents[0]", "was refused")), error.violations());
  }

  @Test
  void aReasonOfSomebodyElse() {
    assertEquals("", read(OURS.toBuilder().setDomain("elsewhere").build()).reason());
  }

  @Test
  void trailersThatCannotBeRead() {
    assertEquals("", read(new byte[] {(byte) 0xff}).reason());
    var broken =
        Any.pack(OURS).toBuilder().setValue(ByteString.copyFrom(new byte[] {(byte) 0xff})).build();
    var status = com.google.rpc.Status.newBuilder().addDetails(broken).build();
    assertEquals("", read(status.toByteArray()).reason());
    assertEquals("", errors.of(Status.UNKNOWN, null).reason());
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      quoteCharacter = '`',
      textBlock =
          """
          UNAVAILABLE | cannot reach rerankd at there:1: words; is it running there? "rerankd serve" starts it
          DEADLINE_EXCEEDED | rerankd at there:1 did not answer in time: words; give the call more time
          RESOURCE_EXHAUSTED | words; send fewer documents at once, or raise max_message_bytes on the server
          UNIMPLEMENTED | what listens at there:1 is no rerankd, or an older one: words
          INTERNAL | words
          """)
  void whatToDoWhereRerankdDidNotSay(Status.Code code, String message) {
    var error = errors.of(code.toStatus().withDescription("words"), new Metadata());
    assertEquals(code, error.getStatus().getCode());
    assertEquals(message, error.getStatus().getDescription());
  }

  @ParameterizedTest
  @CsvSource({
    "UNAVAILABLE, CANCELLED: the client is closed",
    "CANCELLED, CANCELLED: the client is closed",
    "INTERNAL, INTERNAL: words"
  })
  void aClosedClient(Status.Code code, String message) {
    var status = code.toStatus().withDescription("words");
    assertEquals(message, new Errors("there:1", () -> true).of(status, null).getMessage());
  }

  @Test
  void theWordsOfWhatWentWrongBelow() {
    var refused = new IOException("refused: /127.0.0.1:1");
    var error = broken("io exception\nChannel Pipeline: [SslHandler#0]", refused);
    assertEquals("io exception: refused: /127.0.0.1:1", error.getStatus().getDescription());
    assertEquals(refused, error.getCause());
    var said = broken("io exception", new FileNotFoundException()).getStatus().getDescription();
    assertEquals("io exception: FileNotFoundException", said);
  }

  private RerankException broken(String words, IOException cause) {
    var status = Status.INTERNAL.withDescription(words).withCause(cause);
    return errors.of(status, new Metadata());
  }

  private RerankException read(Message... details) {
    var status = com.google.rpc.Status.newBuilder();
    for (var detail : details) {
      status.addDetails(Any.pack(detail));
    }
    return read(status.build().toByteArray());
  }

  private RerankException read(byte[] packed) {
    var trailers = new Metadata();
    trailers.put(Details.KEY, packed);
    return errors.of(Status.RESOURCE_EXHAUSTED.withDescription("words"), trailers);
  }
}
