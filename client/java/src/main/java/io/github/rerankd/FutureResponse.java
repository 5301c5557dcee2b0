package io.github.rerankd;

import io.grpc.Status;
import io.grpc.stub.StreamObserver;
import java.util.concurrent.CompletableFuture;

/** A future of the one response of a call. */
final class FutureResponse<T> extends CompletableFuture<T> implements StreamObserver<T> {
  private final Errors errors;
  private T response;

  FutureResponse(Errors errors) {
    this.errors = errors;
  }

  @Override
  public void onNext(T response) {
    this.response = response; // complete only with the status, which may yet be a failure
  }

  @Override
  public void onError(Throwable error) {
    try {
      completeExceptionally(
          errors.of(Status.fromThrowable(error), Status.trailersFromThrowable(error)));
    } finally {
      completeExceptionally(error); // whatever was thrown above: nobody is left waiting
    }
  }

  @Override
  public void onCompleted() {
    if (response == null) { // as where a thread waits for the response
      onError(Status.INTERNAL.withDescription("No value received for unary call").asException());
    } else {
      complete(response);
    }
  }
}
