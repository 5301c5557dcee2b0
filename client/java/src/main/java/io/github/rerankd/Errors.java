package io.github.rerankd;

import io.grpc.Metadata;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import java.util.Set;
import java.util.function.BooleanSupplier;

/** Makes our exceptions of gRPC's. Where rerankd did not say what to do, the message does. */
record Errors(String address, BooleanSupplier closed) {
  private static final Set<Status.Code> ENDED =
      Set.of(Status.Code.UNAVAILABLE, Status.Code.CANCELLED);

  RerankException of(StatusRuntimeException error) {
    return of(error.getStatus(), error.getTrailers());
  }

  RerankException of(Status status, Metadata trailers) {
    var details = Details.of(trailers);
    if (details.fromRerankd()) {
      return new RerankException(status, trailers, details);
    }
    if (closed.getAsBoolean() && ENDED.contains(status.getCode())) {
      // gRPC says it in one way or the other; but nothing is wrong with the server.
      status = Status.CANCELLED.withDescription("the client is closed");
    }
    var message = hint(status.getCode(), said(status));
    return new RerankException(status.withDescription(message), trailers, details);
  }

  private String hint(Status.Code code, String said) {
    return switch (code) {
      case UNAVAILABLE ->
          "cannot reach rerankd at %s: %s; is it running there? \"rerankd serve\" starts it"
              .formatted(address, said);
      case DEADLINE_EXCEEDED ->
          "rerankd at %s did not answer in time: %s; give the call more time"
              .formatted(address, said);
      case RESOURCE_EXHAUSTED ->
          "%s; send fewer documents at once, or raise max_message_bytes on the server"
              .formatted(said);
      case UNIMPLEMENTED ->
          "what listens at %s is no rerankd, or an older one: %s".formatted(address, said);
      default -> said;
    };
  }

  /** gRPC's own words, in one line. Its "io exception" is followed by what the exception says. */
  private static String said(Status status) {
    var words = status.getDescription() == null ? status.getCode().name() : status.getDescription();
    words = words.replaceFirst("\nChannel Pipeline: .*", "");
    if (status.getCause() == null) {
      return words;
    }
    var cause = status.getCause().getMessage();
    cause = cause == null ? status.getCause().getClass().getSimpleName() : cause;
    return words.contains(cause) ? words : words + ": " + cause;
  }
}
