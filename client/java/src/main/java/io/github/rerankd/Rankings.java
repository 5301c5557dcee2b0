package io.github.rerankd;

import io.github.rerankd.v1.RerankRequest;
import io.github.rerankd.v1.RerankResponse;
import io.grpc.ClientCall;
import io.grpc.StatusRuntimeException;
import io.grpc.stub.ClientCalls;
import java.util.Iterator;
import java.util.function.Function;

/**
 * Better and better rankings of one call, each of them whole; the last has {@code is_final} set.
 *
 * <p>For try-with-resources: closing ends a call that is still going on. To be read once, by one
 * thread. Reading blocks until there is a ranking, and throws {@link RerankException}.
 */
public final class Rankings
    implements Iterable<RerankResponse>, Iterator<RerankResponse>, AutoCloseable {
  private final ClientCall<RerankRequest, RerankResponse> call;
  private final Iterator<RerankResponse> responses;
  private final Errors errors;

  Rankings(ClientCall<RerankRequest, RerankResponse> call, RerankRequest request, Errors errors) {
    this.call = call;
    this.errors = errors;
    responses = ClientCalls.blockingServerStreamingCall(call, request);
  }

  @Override
  public boolean hasNext() {
    return read(Iterator::hasNext);
  }

  @Override
  public RerankResponse next() {
    return read(Iterator::next);
  }

  /** Gives itself, so that a {@code for} loop takes it. */
  @Override
  public Iterator<RerankResponse> iterator() {
    return this;
  }

  /** Ends the call, where it is still going on. */
  @Override
  public void close() {
    call.cancel("the caller left", null);
  }

  private <T> T read(Function<Iterator<RerankResponse>, T> how) {
    try {
      return how.apply(responses);
    } catch (StatusRuntimeException error) {
      throw errors.of(error);
    }
  }
}
