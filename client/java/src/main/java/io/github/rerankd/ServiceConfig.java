package io.github.rerankd;

import com.google.gson.Gson;
import com.google.gson.JsonParseException;
import com.google.gson.JsonParser;
import com.google.gson.reflect.TypeToken;
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
      var config = JsonParser.parseString(json).getAsJsonObject();
      return new Gson().fromJson(config, new TypeToken<Map<String, Object>>() {});
    } catch (JsonParseException | IllegalStateException error) {
      throw new IllegalArgumentException("service config: " + error.getMessage(), error);
    }
  }
}
