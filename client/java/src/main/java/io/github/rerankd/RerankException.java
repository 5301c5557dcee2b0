package io.github.rerankd;

import io.grpc.Metadata;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import java.time.Duration;
import java.util.List;
import java.util.Optional;

/**
 * A call that failed: gRPC's own exception, with what rerankd says about the failure read from it.
 *
 * <p>{@code getStatus().getCode()} is the kind of failure, {@code getStatus().getDescription()}
 * what went wrong, in words. An interrupt, and a call that the caller cancelled or whose client was
 * closed, come out as {@code CANCELLED}.
 */
public final class RerankException extends StatusRuntimeException {
  private static final long serialVersionUID = 1;

  private final transient Details details;

  RerankException(Status status, Metadata trailers, Details details) {
    super(status, trailers);
    this.details = details;
  }

  /**
   * rerankd's reason, as listed in the proto, such as {@code KEY_REJECTED}; "" where it has none.
   */
  public String reason() {
    return details.reason();
  }

  /** How long to wait until a new try may succeed, where the server told. */
  public Optional<Duration> retryAfter() {
    return details.retryAfter();
  }

  /** The rules that were broken, or the documents that stayed without a score; may be empty. */
  public List<Violation> violations() {
    return details.violations();
  }
}
