// A row: inputs move right, weights down while `load`, sums are the product added to those from above.
module dfc_weight_row #(
    parameter integer COLS = 4,
    parameter integer OPERAND_BITS = 8,
    parameter integer ACC_BITS = 32,
    parameter integer DOUBLE = 1
) (
    input  wire                         clk,
    input  wire [OPERAND_BITS-1:0]      x,
    input  wire                         phase,
    input  wire                         load,
    input  wire                         load_phase,
    input  wire [COLS*OPERAND_BITS-1:0] w_in,
    output reg  [COLS*OPERAND_BITS-1:0] w_out,
    input  wire [COLS*ACC_BITS-1:0]     sum_in,
    output reg  [COLS*ACC_BITS-1:0]     sum_out
);
  /* verilator no_inline_module */  // all rows are one class of the simulator
  localparam integer B = OPERAND_BITS;
  // What column j sees; what moves right is held on the way from column 0.
  /* verilator lint_off UNUSEDSIGNAL */  // the last column hands nothing on
  reg [COLS*B-1:0] x_held;
  reg [COLS-1:0] phase_held, load_held, load_phase_held;
  /* verilator lint_on UNUSEDSIGNAL */
  wire [COLS*B-1:0] x_at;
  wire [COLS-1:0] phase_at, load_at, load_phase_at;
  generate
    if (COLS == 1) begin : single
      assign x_at = x;
      assign {phase_at, load_at, load_phase_at} = {phase, load, load_phase};
    end else begin : many
      assign x_at = {x_held[(COLS-1)*B-1:0], x};
      assign phase_at = {phase_held[COLS-2:0], phase};
      assign load_at = {load_held[COLS-2:0], load};
      assign load_phase_at = {load_phase_held[COLS-2:0], load_phase};
    end
  endgenerate
  always @(posedge clk) begin
    x_held <= x_at;
    phase_held <= phase_at;
    load_held <= load_at;
    load_phase_held <= load_phase_at;
  end

  reg [COLS*B-1:0] w0, w1;
  reg [COLS*ACC_BITS-1:0] sum_held;
  integer j;
  always @(posedge clk) begin
    sum_held <= sum_in;
    for (j = 0; j < COLS; j = j + 1) begin
      if (load_at[j] && !(load_phase_at[j] && DOUBLE != 0)) w0[j*B +: B] <= w_in[j*B +: B];
      if (load_at[j] && load_phase_at[j] && DOUBLE != 0) w1[j*B +: B] <= w_in[j*B +: B];
    end
  end
  integer c;
  reg signed [B-1:0] a, b;
  always @* begin
    for (c = 0; c < COLS; c = c + 1) begin
      a = $signed(x_at[c*B +: B]);
      b = $signed(phase_at[c] && DOUBLE != 0 ? w1[c*B +: B] : w0[c*B +: B]);
      sum_out[c*ACC_BITS +: ACC_BITS] = sum_held[c*ACC_BITS +: ACC_BITS] + dfc_product(a, b);
      w_out[c*B +: B] = load_phase_at[c] && DOUBLE != 0 ? w1[c*B +: B] : w0[c*B +: B];
    end
  end
  function automatic [ACC_BITS-1:0] dfc_product(input signed [B-1:0] one, input signed [B-1:0] other);
    /* verilator lint_off UNUSEDSIGNAL */
    reg signed [2*B+ACC_BITS-1:0] wide;
    /* verilator lint_on UNUSEDSIGNAL */
    begin
      wide = one * other;
      dfc_product = wide[ACC_BITS-1:0];
    end
  endfunction
endmodule
