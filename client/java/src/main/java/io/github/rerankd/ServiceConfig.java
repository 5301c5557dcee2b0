package io.github.rerankd;

import com.google.gson.Gson;
import com.google.gson.JsonParseException;
import com.google.gson.JsonParser;
import com.google.gson.reflect.TypeToken;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.util.Map;

/** Reads gRPC service configs. */
final class ServiceConfig {
  private ServiceConfig() {}

  /** Gives the one that is shipped with the client. */
  static String retrying() {
    try (var file = ServiceConfig.class.getResourceAsStream("service_config.json")) {
      return new String(file.readAllBytes(), StandardCharsets.UTF_8);
    } catch (IOException error) {
      throw new UncheckedIOException(error);
    }
  }

  /** Gives it as gRPC takes it, with every number a Double, as Gson reads them. */
  static Map<String, ?> parse(String json) {
    try {
      var object = JsonParser.parseString(json).getAsJsonObject();
      var config = new Gson().fromJson(object, new TypeToken<Map<String, Object>>() {});
      tryOut(config);
      return config;
    } catch (JsonParseException | IllegalStateException error) {
      var words = error.getMessage().lines().findFirst().orElse(""); // a stack trace may follow
      throw new IllegalArgumentException("service config: " + words, error);
    }
  }

  /** Only a channel that is built checks its service config; this one is never connected. */
  private static void tryOut(Map<String, ?> config) {
    Grpc.newChannelBuilder(RerankClient.ADDRESS, InsecureChannelCredentials.create())
        .defaultServiceConfig(config)
        .build()
        .shutdownNow();
  }
}
