package io.github.rerankd;

import com.google.protobuf.InvalidProtocolBufferException;
import com.google.protobuf.Message;
import com.google.rpc.BadRequest;
import com.google.rpc.ErrorInfo;
import com.google.rpc.PreconditionFailure;
import com.google.rpc.RetryInfo;
import com.google.rpc.Status;
import io.grpc.Metadata;
import java.time.Duration;
import java.util.List;
import java.util.Optional;

/** What a server says about a failure beside its status. What cannot be read is as none. */
record Details(
    boolean fromRerankd, String reason, Optional<Duration> retryAfter, List<Violation> violations) {

  static final Metadata.Key<byte[]> KEY =
      Metadata.Key.of("grpc-status-details-bin", Metadata.BINARY_BYTE_MARSHALLER);

  private static final String DOMAIN = "rerankd";
  private static final long MAX_SECONDS = 315_576_000_000L; // of protobuf's Duration

  static Details of(Metadata trailers) {
    var status = status(trailers);
    var info = find(status, ErrorInfo.class).filter(each -> each.getDomain().equals(DOMAIN));
    return new Details(
        info.isPresent(),
        info.map(ErrorInfo::getReason).orElse(""),
        find(status, RetryInfo.class).map(RetryInfo::getRetryDelay).flatMap(Details::duration),
        violations(status));
  }

  private static Status status(Metadata trailers) {
    var packed = trailers == null ? null : trailers.get(KEY);
    try {
      return packed == null ? Status.getDefaultInstance() : Status.parseFrom(packed);
    } catch (InvalidProtocolBufferException unreadable) {
      return Status.getDefaultInstance();
    }
  }

  private static List<Violation> violations(Status status) {
    var bad = find(status, BadRequest.class);
    if (bad.isPresent()) {
      return bad.get().getFieldViolationsList().stream()
          .map(each -> new Violation(each.getField(), each.getDescription()))
          .toList();
    }
    return find(status, PreconditionFailure.class).stream()
        .flatMap(failure -> failure.getViolationsList().stream())
        .map(each -> new Violation(each.getSubject(), each.getDescription()))
        .toList();
  }

  private static Optional<Duration> duration(com.google.protobuf.Duration delay) {
    var seconds = delay.getSeconds();
    var nanos = delay.getNanos();
    var readable = 0 <= seconds && seconds <= MAX_SECONDS && 0 <= nanos && nanos < 1_000_000_000;
    return readable ? Optional.of(Duration.ofSeconds(seconds, nanos)) : Optional.empty();
  }

  private static <T extends Message> Optional<T> find(Status status, Class<T> kind) {
    for (var packed : status.getDetailsList()) {
      if (packed.is(kind)) {
        try {
          return Optional.of(packed.unpack(kind));
        } catch (InvalidProtocolBufferException unreadable) {
          return Optional.empty();
        }
      }
    }
    return Optional.empty();
  }
}
