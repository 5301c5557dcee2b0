package io.github.rerankd.conformance;

import com.google.gson.JsonArray;
import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import com.google.gson.JsonPrimitive;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.protobuf.MessageOrBuilder;
import com.google.protobuf.util.JsonFormat;
import io.github.rerankd.RerankClient;
import io.github.rerankd.RerankException;
import io.github.rerankd.v1.Document;
import io.github.rerankd.v1.ListModelsResponse;
import io.github.rerankd.v1.RerankRequest;
import io.grpc.TlsChannelCredentials;
import java.io.File;
import java.io.IOException;
import java.io.PrintStream;
import java.time.Duration;
import java.util.Map;

/** One golden case: performs it, and tells what it saw. */
record Case(JsonObject json, Map<String, String> given, PrintStream out) {
  void perform() throws IOException {
    try (var client = client()) {
      switch (text("method", "")) {
        case "rerank" -> tell("ranking", message(client.rerank(request(), timeout())));
        case "models" -> {
          var models = client.models(timeout());
          tell("models", message(ListModelsResponse.newBuilder().addAllModels(models)));
        }
        default -> {
          if (left(client)) {
            tell("end", code("LEFT"));
            return;
          }
        }
      }
      tell("end", code("OK"));
    } catch (IllegalArgumentException refused) {
      var end = code("ADDRESS");
      end.addProperty("message", refused.getMessage());
      tell("end", end);
    } catch (RerankException error) {
      tell("end", failure(error));
    }
  }

  private boolean left(RerankClient client) throws IOException {
    var count = 0;
    try (var rankings = client.rerankPartial(request(), timeout())) {
      for (var ranking : rankings) {
        tell("ranking", message(ranking));
        if (json.has("leaveAfter") && ++count == json.get("leaveAfter").getAsInt()) {
          return true;
        }
      }
    }
    return false;
  }

  private RerankClient client() throws IOException {
    var builder =
        RerankClient.builder().address(text("address", given.get(text("server", "rerankd"))));
    if (json.has("retry")) {
      builder.serviceConfig(RerankClient.RETRYING);
    }
    if (json.has("tls")) {
      var roots = new File(given.get("ca"));
      builder.tls(TlsChannelCredentials.newBuilder().trustManager(roots).build());
    }
    if (json.has("token")) {
      builder.token(text("token", ""));
    }
    return builder.build();
  }

  private Duration timeout() {
    return Duration.ofMillis(json.has("timeoutMs") ? json.get("timeoutMs").getAsLong() : 60_000);
  }

  private RerankRequest request() throws InvalidProtocolBufferException {
    var request = RerankRequest.newBuilder();
    if (json.has("request")) {
      JsonFormat.parser().merge(json.get("request").toString(), request);
    }
    if (json.has("generate")) {
      var generate = json.getAsJsonObject("generate");
      var characters = generate.get("characters").getAsInt();
      for (var n = 0; n < generate.get("count").getAsInt(); n++) {
        request.addDocuments(
            Document.newBuilder().setText(document(n, characters)).setId(Integer.toString(n)));
      }
    }
    return request.build();
  }

  static String document(int n, int characters) {
    var start = n % 11 + " document";
    return start + ".".repeat(Math.max(0, characters - start.length()));
  }

  private static JsonElement message(MessageOrBuilder message)
      throws InvalidProtocolBufferException {
    return JsonParser.parseString(JsonFormat.printer().print(message));
  }

  private static JsonObject failure(RerankException error) {
    var end = code(error.getStatus().getCode().name());
    end.addProperty("message", error.getStatus().getDescription());
    end.addProperty("reason", error.reason());
    error.retryAfter().ifPresent(after -> end.addProperty("retryAfter", after.toNanos() / 1e9));
    var violations = new JsonArray();
    for (var violation : error.violations()) {
      var each = new JsonObject();
      each.addProperty("field", violation.field());
      each.addProperty("description", violation.description());
      violations.add(each);
    }
    end.add("violations", violations);
    return end;
  }

  private static JsonObject code(String code) {
    var end = new JsonObject();
    end.addProperty("code", code);
    return end;
  }

  private String text(String name, String otherwise) {
    return json.has(name) ? json.get(name).getAsString() : otherwise;
  }

  private void tell(String what, JsonElement value) {
    var event = new JsonObject();
    event.add("case", new JsonPrimitive(text("name", "")));
    event.add(what, value);
    out.println(event);
  }
}
