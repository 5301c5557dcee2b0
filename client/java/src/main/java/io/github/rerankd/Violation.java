package io.github.rerankd;

/**
 * One rule that one field breaks, or one document that stayed without a score.
 *
 * @param field path of the field, as in the proto: {@code documents[3].text}
 * @param description what is wrong, and what to do about it
 */
public record Violation(String field, String description) {}
