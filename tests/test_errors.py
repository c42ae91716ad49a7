"""What a library says in several lines reaches the user as a part of one line."""

from r2d2.errors import R2D2Error, first_line


def test_an_error_is_one_line_whatever_it_quotes():
    quoted = "Validation error for field 'size':\n    TypeError: expected int\n\n"
    message = str(R2D2Error(f"config.json is not understood ({quoted}): fetch it again"))
    assert message == (
        "config.json is not understood (Validation error for field 'size': "
        "TypeError: expected int ): fetch it again"
    )
    assert str(R2D2Error(" kept  as it is ")) == " kept  as it is "


def test_a_first_line_that_announces_the_next_brings_it_along():
    error = RuntimeError("Error(s) in loading state_dict for Dense:\n\tsize mismatch\n\tmore")
    assert first_line(error) == "Error(s) in loading state_dict for Dense: size mismatch"
    assert first_line(ValueError("no such file\nmore")) == "no such file"
    assert first_line(KeyError()) == "KeyError"
