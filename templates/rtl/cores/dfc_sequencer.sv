// Runs descriptors from a ROM: each is a nest of loops, and every turn of the innermost one is a fold for a unit.
//
// A level of the nest walks one dimension (0 batch, 1 m, 2 n, 3 k) in steps. What is left at a ragged edge is
// min(step, rest), where the rest is that of the next level outside over the same dimension, or the extent. The
// three operands' addresses move by a stride per level and turn. Level 0 is the outermost.
//
// From `start` on, descriptor `first` and those that `next` names run one after another until one names END. Between
// `done` of one and the first fold of the next lie three cycles: address of the ROM, its data, loops at their start.
module dfc_sequencer #(
    parameter integer LEVELS = 7,
    parameter integer AW = 24,  // bits of a line's address
    parameter integer SW = 20,  // bits of a size
    parameter integer IW = 16,  // bits of a descriptor's number
    parameter integer ROW = (11 + 4 * LEVELS) * 32  // bits of a descriptor: follows from LEVELS
) (
    input  wire            clk,
    input  wire            rst,
    input  wire            start,
    input  wire [IW-1:0]   first,
    output reg             busy,
    output wire [IW-1:0]   rom_addr,
    input  wire [ROW-1:0]  rom_data,   // in the cycle after the address

    output wire            fold_valid,
    input  wire            fold_take,
    output reg  [AW-1:0]   fold_x,
    output reg  [AW-1:0]   fold_w,
    output reg  [AW-1:0]   fold_y,
    output wire [SW-1:0]   fold_m,
    output wire [SW-1:0]   fold_n,
    output wire [SW-1:0]   fold_k,
    output reg             fold_begin, // the first piece of k: sums begin
    output reg             fold_open,  // the first piece of k in the innermost loop over it
    output reg             fold_close, // the last one there
    output reg             fold_last,  // of the descriptor
    output wire [7:0]      opcode,
    output wire [7:0]      unit,
    output wire [7:0]      amount,     // how far products are shifted, where a unit asks for it
    input  wire            done        // of the unit, once after the last fold
);
  // The columns of the table `desc`, least significant first.
  localparam integer W = 32;
  localparam integer HEAD = 2 * W;                   // opcode, unit, amount, x, w, y buffers, next
  localparam integer EXTENT = HEAD;                  // of the four dimensions
  localparam integer BASE = EXTENT + 4 * W;          // of the three operands
  localparam integer DIM = BASE + 3 * W;             // a byte per level, and how many there are
  localparam integer LEVEL = DIM + 2 * W;            // step, and strides of x, w and y
  localparam [IW-1:0] END = {IW{1'b1}};

  localparam [2:0] IDLE = 3'd0, ADDRESS = 3'd1, DATA = 3'd2, SET = 3'd3, RUN = 3'd4, WAIT = 3'd5;

  reg [2:0] state;
  reg [IW-1:0] number;
  reg [ROW-1:0] row;
  reg [LEVELS*SW-1:0] left, next_left;        // of each level's dimension, the turn at hand included
  reg [LEVELS*AW-1:0] at_x, at_w, at_y, next_x, next_w, next_y;
  reg [LEVELS-1:0] first_turn, next_first, last_turn;
  reg [4*SW-1:0] next_size;
  reg [3*SW-1:0] size;                        // of m, n and k

  assign rom_addr = number;
  assign opcode = row[7:0];
  assign unit = row[15:8];
  assign amount = row[23:16];
  assign fold_valid = state == RUN;
  assign fold_m = size[0 +: SW];
  assign fold_n = size[1*SW +: SW];
  assign fold_k = size[2*SW +: SW];

  // The turn after this one, or with `state == SET` the first.
  integer l;
  reg moved, turns;
  integer dim;
  reg [SW-1:0] step, rest;
  reg [AW-1:0] x, w, y;
  always @* begin
    moved = state == SET;      // levels further in start again
    x = row[BASE +: AW];
    w = row[BASE + W +: AW];
    y = row[BASE + 2*W +: AW];
    next_size = {row[EXTENT + 3*W +: SW], row[EXTENT + 2*W +: SW], row[EXTENT + W +: SW], row[EXTENT +: SW]};
    next_left = left;
    next_first = first_turn;
    next_x = at_x;
    next_w = at_w;
    next_y = at_y;
    for (l = 0; l < LEVELS; l = l + 1) begin
      dim = $signed({30'd0, row[DIM + 8*l +: 2]});
      step = row[LEVEL + 4*W*l +: SW];
      // The innermost level with turns left moves on: all further in are at their last.
      turns = !last_turn[l] && (&(last_turn | ~({LEVELS{1'b1}} << (l + 1))));
      rest = left[l*SW +: SW];
      if (moved) begin
        rest = next_size[dim*SW +: SW];
        next_first[l] = 1'b1;
      end else begin
        x = at_x[l*AW +: AW];
        w = at_w[l*AW +: AW];
        y = at_y[l*AW +: AW];
        if (turns) begin
          rest = rest - step;
          next_first[l] = 1'b0;
          x = x + row[LEVEL + 4*W*l + W +: AW];
          w = w + row[LEVEL + 4*W*l + 2*W +: AW];
          y = y + row[LEVEL + 4*W*l + 3*W +: AW];
          moved = 1'b1;
        end
      end
      next_left[l*SW +: SW] = rest;
      next_x[l*AW +: AW] = x;
      next_w[l*AW +: AW] = w;
      next_y[l*AW +: AW] = y;
      next_size[dim*SW +: SW] = rest < step ? rest : step;
    end
  end

  // Which levels are at their last turn, and where the fold stands in k.
  integer q;
  always @* begin
    fold_begin = 1'b1;
    fold_open = 1'b1;
    fold_close = 1'b1;
    for (q = 0; q < LEVELS; q = q + 1) begin
      last_turn[q] = left[q*SW +: SW] <= row[LEVEL + 4*W*q +: SW];
      if (row[DIM + 8*q +: 2] == 2'd3) begin
        fold_begin = fold_begin && first_turn[q];
        fold_open = first_turn[q];
        fold_close = last_turn[q];
      end
    end
    fold_last = &last_turn;
    fold_x = at_x[(LEVELS-1)*AW +: AW];
    fold_w = at_w[(LEVELS-1)*AW +: AW];
    fold_y = at_y[(LEVELS-1)*AW +: AW];
  end

  always @(posedge clk) begin
    if (state == DATA) row <= rom_data;
    if (state == SET || (state == RUN && fold_take && !fold_last)) begin
      left <= next_left;
      at_x <= next_x;
      at_w <= next_w;
      at_y <= next_y;
      first_turn <= next_first;
      size <= next_size[4*SW-1:SW];
    end
    case (state)
      IDLE: if (start) begin
        state <= ADDRESS;
        number <= first;
        busy <= 1'b1;
      end
      ADDRESS: state <= DATA;
      DATA: state <= SET;
      SET: state <= RUN;
      RUN: if (fold_take && fold_last) state <= WAIT;
      default: if (done) begin
        state <= row[HEAD - IW +: IW] == END ? IDLE : ADDRESS;
        number <= row[HEAD - IW +: IW];
        busy <= row[HEAD - IW +: IW] != END;
      end
    endcase
    if (rst) begin
      state <= IDLE;
      busy <= 1'b0;
      number <= {IW{1'b0}};
    end
  end
endmodule
